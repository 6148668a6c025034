import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_sample_image

from modelscope_beit.errors import MissingPackageError
from modelscope_beit.images import warping

FILL = (10, 120, 250)  # red, green, blue
SHAPES = [(40, 53), (1, 1), (1, 30), (30, 1), (64, 64)]
FILTERS = ["nearest", "bilinear", "bicubic", "area", "lanczos"]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def warped(pixels: np.ndarray, interpolation: str, rng: np.random.Generator) -> list[np.ndarray]:
    share, angle = rng.uniform(-0.6, 0.6), rng.uniform(-50, 50)
    return [
        warping.shear(pixels, share, "horizontal", FILL, interpolation),
        warping.shear(pixels, share, "vertical", FILL, interpolation),
        warping.translate(pixels, share, "horizontal", FILL, interpolation),
        warping.translate(pixels, share, "vertical", FILL, interpolation),
        warping.rotate(pixels, angle, FILL, interpolation),
        warping.rotate(pixels, angle, FILL, interpolation, center=(3.3, 5.5), scale=1.2),
    ]


def warped_by_mmcv(pixels: np.ndarray, interpolation: str, rng: np.random.Generator) -> list[np.ndarray]:
    mmcv = pytest.importorskip("mmcv", reason="the oracle, mmcv, comes with the extra openmmlab")
    share, angle = rng.uniform(-0.6, 0.6), rng.uniform(-50, 50)
    bgr, fill = np.ascontiguousarray(pixels[:, :, ::-1]), FILL[::-1]
    height, width = pixels.shape[:2]
    rotated = {"border_value": fill, "interpolation": interpolation}
    results = [
        mmcv.imshear(bgr, share, "horizontal", fill, interpolation),
        mmcv.imshear(bgr, share, "vertical", fill, interpolation),
        mmcv.imtranslate(bgr, share * width, "horizontal", fill, interpolation),
        mmcv.imtranslate(bgr, share * height, "vertical", fill, interpolation),
        mmcv.imrotate(bgr, angle, **rotated),
        mmcv.imrotate(bgr, angle, center=(3.3, 5.5), scale=1.2, **rotated),
    ]
    return [result[:, :, ::-1] for result in results]


@pytest.fixture
def without_opencv(monkeypatch):
    monkeypatch.setattr(warping, "_opencv", lambda: None)


@pytest.mark.openmmlab
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_warps__equal_mmcv_where_opencv_is_installed(interpolation, shape):
    for seed in range(10):
        pixels = noise(*shape, seed)
        ours = warped(pixels, interpolation, np.random.default_rng(seed))
        theirs = warped_by_mmcv(pixels, interpolation, np.random.default_rng(seed))
        for one, other in zip(ours, theirs, strict=True):
            assert_array_equal(one, other)


@pytest.mark.openmmlab
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("kind", ["photograph", "noise"])
def test_warps__bound_without_opencv(without_opencv, interpolation, kind):
    cv2 = pytest.importorskip("cv2", reason="OpenCV, the oracle, comes with the extra openmmlab")
    is_latest = int(cv2.__version__.split(".")[0]) >= 5
    pixels = load_sample_image("china.jpg")[:300, :280] if kind == "photograph" else noise(200, 210)
    for seed in range(6):
        ours = warped(pixels, interpolation, np.random.default_rng(seed))
        theirs = warped_by_mmcv(pixels, interpolation, np.random.default_rng(seed))
        for one, other in zip(ours, theirs, strict=True):
            distance = abs(one.astype(int) - other)
            if is_latest:
                # A place halfway between two pixels may go to the other one with "nearest".
                assert interpolation == "nearest" or distance.max() <= 1
                assert (distance > 0).mean() < 0.01
            else:
                # OpenCV up to 4.10 rounds places to 1/32 pixel, which alone makes 0.2 and 1 levels.
                assert distance.mean() < (0.5 if kind == "photograph" else 2)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_warps__whole_pixels_move_unchanged(without_opencv, interpolation):
    pixels = noise(20, 20)
    moved = warping.translate(pixels, 0.25, "horizontal", FILL, interpolation)
    assert_array_equal(moved[:, 5:], pixels[:, :-5])
    assert_array_equal(moved[:, :5], np.broadcast_to(np.array(FILL, np.uint8), (20, 5, 3)))
    down = warping.translate(pixels, -0.25, "vertical", FILL, interpolation)
    assert_array_equal(down[:-5], pixels[5:])
    sheared = warping.shear(pixels, -1, "horizontal", FILL, interpolation)
    assert_array_equal(sheared[3, :-3], pixels[3, 3:])


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("is_opencv_there", [True, False])
def test_rotate__quarter_turn_is_clockwise(monkeypatch, interpolation, is_opencv_there):
    if not is_opencv_there:
        monkeypatch.setattr(warping, "_opencv", lambda: None)
    pixels = noise(21, 21)
    turned = warping.rotate(pixels, 90, FILL, interpolation)
    distance = abs(turned.astype(int) - np.rot90(pixels, -1))
    assert distance.max() <= 1


def test_warps__lanczos_needs_opencv(monkeypatch):
    def fail(name: str):
        raise ImportError(f"No module named {name}")

    monkeypatch.setattr(warping, "_opencv", lambda: None)
    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(MissingPackageError, match="to warp with the interpolation lanczos"):
        warping.shear(noise(5, 5), 0.1, "horizontal", FILL, "lanczos")
