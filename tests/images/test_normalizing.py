import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from modelscope_beit.images.normalizing import Normalizing
from modelscope_beit.settings.preprocessing import Normalize

STEP = Normalize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def pixels_of(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 30, 3), np.uint8) if kind == "bytes" else rng.normal(100, 80, (40, 30, 3))


@pytest.mark.openmmlab
@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("to_rgb", [True, False])
def test_normalizing__equals_mmcv(kind, to_rgb):
    mmcv = pytest.importorskip("mmcv", reason="the oracle, mmcv, comes with the extra openmmlab")
    step = Normalize(STEP.mean, STEP.std, to_rgb=to_rgb)
    pixels = pixels_of(kind)
    bgr = np.ascontiguousarray(pixels[:, :, ::-1])
    expected = mmcv.imnormalize(bgr, np.array(step.mean, np.float32), np.array(step.std, np.float32), to_rgb)
    ours = Normalizing(step)(pixels)
    assert ours.dtype == np.float32
    assert_array_equal(ours, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_normalizing__is_the_formula(kind):
    pixels = pixels_of(kind)
    expected = (pixels - np.array(STEP.mean)) / np.array(STEP.std)
    assert_allclose(Normalizing(STEP)(pixels), expected.transpose(2, 0, 1), atol=1e-5)
