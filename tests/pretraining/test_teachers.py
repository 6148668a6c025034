"""What all teachers do: resize, normalise, put on the grid, stay frozen."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.pretraining.teachers import Teacher, TeacherNetwork

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


class Patches(nn.Module):
    """Mean colours of patches of 4 x 4 pixels, with dropout, as a map (N, 3, rows, columns)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        self.drop = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(self.drop(images), 4) * self.scale


def teacher(grid: tuple[int, int] = (2, 2), *, is_bgr: bool = False) -> Teacher:
    network = Patches()
    return Teacher(TeacherNetwork(network, network, MEAN, STD, (8, 8), "colours", is_bgr), grid)


def test_teacher__normalises_and_gives_patches_row_by_row() -> None:
    images = torch.rand(2, 3, 8, 8)
    expected = (F.avg_pool2d(images, 4) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(teacher()(images), expected.flatten(2).transpose(1, 2))
    assert teacher().width == 3


def test_teacher__in_bgr_turns_the_channels_round_before_it_normalises() -> None:
    images = torch.rand(1, 3, 8, 8)
    expected = (images.flip(1).mean(dim=(2, 3)) - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(teacher(is_bgr=True)(images).mean(dim=1), expected)


def test_teacher__resizes_pictures_without_leaving_0_to_1() -> None:
    made, seen = teacher(), []
    made.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    edges = torch.zeros(1, 3, 32, 32)
    edges[..., ::3] = 1.0
    made(edges)
    back = seen[0] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    assert back.shape[2:] == (8, 8)
    assert float(back.min()) >= -1e-6 and float(back.max()) <= 1 + 1e-6
    smooth = F.interpolate(edges, (8, 8), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    torch.testing.assert_close(back, smooth, rtol=1e-5, atol=1e-6)


def test_teacher__puts_a_map_on_the_wanted_grid() -> None:
    images = torch.rand(1, 3, 8, 8)
    own = teacher()(images).transpose(1, 2).unflatten(2, (2, 2))
    found = teacher((1, 1))(images)
    torch.testing.assert_close(found[0, 0], own.mean(dim=(2, 3))[0], rtol=1e-5, atol=1e-6)


def test_teacher__stays_frozen_and_in_evaluation() -> None:
    made = teacher().train()
    assert not made.training and not made.network.drop.training
    assert not any(weight.requires_grad for weight in made.parameters())
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    assert torch.equal(made(images), made(images)) and not made(images).requires_grad


def test_teacher__refuses_bytes_and_networks_without_features_of_patches() -> None:
    with pytest.raises(ImageError, match="got torch.uint8"):
        teacher()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    pooled = nn.Sequential(Patches(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(SettingsError, match=r"pooled gave features of shape \(1, 3\).*one for each of 2x2 patches"):
        Teacher(TeacherNetwork(pooled, pooled, MEAN, STD, (8, 8), "pooled"), (2, 2))


def test_digest__depends_on_weights_grid_and_scaling() -> None:
    changed = teacher()
    with torch.no_grad():
        changed.network.scale[0] += 1e-6
    network = Patches()
    other = Teacher(TeacherNetwork(network, network, STD, STD, (8, 8), "colours"), (2, 2))
    digests = [one.digest() for one in (teacher(), changed, teacher((1, 1)), other, teacher(is_bgr=True))]
    assert len(set(digests)) == 5 and teacher().digest() == digests[0]
