"""Gauges: of pictures set aside, always the same views; k-NN accuracies as scikit-learn counts them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.pretraining.gauging import NEIGHBOURS, aside_batches, neighbour_accuracies, take_gauges
from modelscope_beit.pretraining.job import Labelled
from modelscope_beit.pretraining.run import open_pretraining
from toy_run import draw_pictures, make_job


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "pictures", 60)


def labelled(pictures: Path) -> Labelled:
    """The class of a picture is whether it is more red than blue; every third one is asked about."""
    files = sorted(map(str, pictures.iterdir()))
    pixels = [np.asarray(Image.open(file), float).mean(axis=(0, 1)) for file in files]
    labels = np.array([int(red > blue) for red, _, blue in pixels])
    parts = []
    for is_asked in (False, True):
        rows = [row for row in range(len(files)) if (row % 3 == 0) == is_asked]
        paths = [files[row] for row in rows]
        parts.append(Records(FilePictures(paths), labels[rows], ("blue", "red"), description="colours"))
    return Labelled(*parts)


def test_take_gauges__passes_over_gradients_that_fp16_passed_over(pictures: Path, tmp_path: Path) -> None:
    with open_pretraining(make_job(pictures, tmp_path / "run", gauge_pictures=0)) as run:
        run.measurements["gradient_norm"] = [torch.tensor(value) for value in (1.0, float("inf"), 3.0)]
        take_gauges(run, 0)
        assert run.history == [{"iteration": 0.0, "gradient_norm": 2.0}]


def test_neighbour_accuracies__are_those_of_scikit_learn(pictures: Path, tmp_path: Path) -> None:
    parts = labelled(pictures)
    with open_pretraining(make_job(pictures, tmp_path / "run", labelled=parts)) as run:
        found = neighbour_accuracies(run)
        views = {
            part: [run.job.stage.view(Image.open(file)) for file in records.files() or ()]
            for part, records in vars(parts).items()
        }
    features = {part: torch.stack(rows).mean(dim=(2, 3)).double().numpy() for part, rows in views.items()}
    # DINO's vote: exp(cosine / 0.07) of the nearest by cosine.
    oracle = KNeighborsClassifier(
        NEIGHBOURS, metric="cosine", algorithm="brute", weights=lambda distances: np.exp((1 - distances) / 0.07)
    )
    oracle.fit(features["train"], parts.train.labels())
    expected = 100 * oracle.score(features["validation"], parts.validation.labels())
    assert found["knn_class_token"] == pytest.approx(expected)
    assert found.keys() == {"knn_class_token", "knn_mean"}


def test_neighbour_accuracies__are_of_so_many_pictures_at_most(pictures: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    job = make_job(pictures, tmp_path / "run", labelled=labelled(pictures), neighbour_pictures=8)
    features = job.stage.features

    def counted(images: torch.Tensor) -> Any:
        seen.append(len(images))
        return features(images)

    job.stage.features = counted  # type: ignore[method-assign]
    with open_pretraining(job) as run:
        neighbour_accuracies(run)
    assert sum(seen) == 16


def test_aside_batches__are_the_same_each_time(pictures: Path, tmp_path: Path) -> None:
    with open_pretraining(make_job(pictures, tmp_path / "run", gauge_pictures=6)) as run:
        first, second = ([batch["image"] for batch in aside_batches(run)] for _ in range(2))
        assert len(first) == 1
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
        assert "target" in next(aside_batches(run)), "they are completed"


def test_take_gauges__tells_means_since_the_last_look_and_keeps_random_numbers(pictures: Path, tmp_path: Path) -> None:
    with open_pretraining(make_job(pictures, tmp_path / "run", labelled=labelled(pictures), gauge_pictures=6)) as run:
        run.measurements = {"gradient_norm": [torch.tensor(1.0), torch.tensor(3.0)]}
        before = torch.get_rng_state()
        take_gauges(run, epoch=0)
        assert torch.equal(torch.get_rng_state(), before)
        assert not run.network.training
        (row,) = run.history
        assert row["gradient_norm"] == 2.0
        assert row.keys() >= {"iteration", "aside_error", "knn_class_token", "knn_mean"}
        assert run.measurements == {}
    assert "aside_error" in (tmp_path / "run" / "metrics.csv").read_text()
