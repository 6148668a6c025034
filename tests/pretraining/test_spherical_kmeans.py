"""K-means by the cosine, against loops in NumPy and against scikit-learn."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans

from modelscope_beit.pretraining.spherical_kmeans import nearest_codes, spherical_kmeans, sums_by_code


def unit_rows(count: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=-1)


def test_nearest_codes__is_the_smallest_distance() -> None:
    vectors, codes = unit_rows(70, 5), unit_rows(9, 5, seed=1)
    expected = ((vectors[:, None] - codes[None]) ** 2).sum(dim=-1).argmin(dim=1)
    assert torch.equal(nearest_codes(vectors, codes), expected)


def test_sums_by_code__adds_what_belongs_together() -> None:
    vectors, numbers = unit_rows(6, 2), torch.tensor([3, 0, 3, 3, 0, 1])
    sums, sizes = sums_by_code(vectors, numbers, 5)
    assert sizes.tolist() == [2, 1, 0, 3, 0]
    torch.testing.assert_close(sums[3], vectors[0] + vectors[2] + vectors[3])
    assert sums[[2, 4]].abs().sum() == 0


def test_spherical_kmeans__each_centre_is_the_direction_of_its_members_in_the_end() -> None:
    vectors = unit_rows(400, 3)
    centres = spherical_kmeans(vectors, 8, seed=4, rounds=200)
    numbers = nearest_codes(vectors, centres).numpy()
    for number in range(8):
        mean = vectors.numpy()[numbers == number].mean(axis=0)
        np.testing.assert_allclose(centres[number].numpy(), mean / np.linalg.norm(mean), atol=1e-12)


def test_spherical_kmeans__finds_clusters_as_well_as_scikit_learn() -> None:
    directions = unit_rows(6, 16, seed=5)
    vectors = F.normalize(directions.repeat(50, 1) + 0.05 * unit_rows(300, 16, seed=6), dim=-1)
    best = max(
        float((vectors @ spherical_kmeans(vectors, 6, seed=seed).t()).max(dim=1).values.mean()) for seed in range(10)
    )
    fitted = KMeans(6, n_init=10, random_state=0).fit(vectors.numpy())
    theirs = F.normalize(torch.from_numpy(fitted.cluster_centers_), dim=-1)
    assert best >= float((vectors @ theirs.t()).max(dim=1).values.mean()) - 1e-9


def test_spherical_kmeans__draws_all_vectors_where_there_are_as_many_as_centres() -> None:
    vectors = unit_rows(12, 4)
    centres = spherical_kmeans(vectors, 12, seed=0, rounds=0)
    assert sorted(centres[:, 0].tolist()) == sorted(vectors[:, 0].tolist())


def test_spherical_kmeans__an_empty_cluster_keeps_its_centre() -> None:
    vectors = unit_rows(3, 4)
    centres = spherical_kmeans(vectors, 40, seed=0)
    distances = ((centres[:, None] - vectors[None]) ** 2).sum(dim=-1).min(dim=1).values
    assert float(distances.max()) < 1e-12


def test_spherical_kmeans__is_repeatable_and_depends_on_the_seed() -> None:
    vectors = unit_rows(100, 4)
    assert torch.equal(spherical_kmeans(vectors, 5, seed=1), spherical_kmeans(vectors, 5, seed=1))
    assert not torch.equal(spherical_kmeans(vectors, 5, seed=1), spherical_kmeans(vectors, 5, seed=2))
