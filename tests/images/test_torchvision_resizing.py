"""The oracle is torchvision on a tensor; what transformers makes of it: checkpoints/test_image_processors.py."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from torchvision.transforms import v2

from modelscope_beit.errors import MissingPackageError
from modelscope_beit.images.fixed_steps import apply_fixed_step
from modelscope_beit.images.torchvision_resizing import resize_like_torchvision
from modelscope_beit.settings.preprocessing import CenterCrop, Resize

PIXELS = np.random.default_rng(0).integers(0, 256, (47, 90, 3), np.uint8)
FILTERS = {
    "nearest": v2.InterpolationMode.NEAREST_EXACT,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
    "lanczos": v2.InterpolationMode.LANCZOS,
}


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("width", "height"), [(32, 32), (90, 20), (130, 47), (201, 301), (90, 47)])
def test_resize_like_torchvision__equals_torchvision(interpolation, width, height):
    try:
        transform = v2.Resize((height, width), interpolation=FILTERS[interpolation], antialias=True)
        expected = transform(torch.from_numpy(PIXELS).permute(2, 0, 1).contiguous())
    except NotImplementedError:
        if interpolation != "lanczos":
            raise
        pytest.skip("this torchvision has no lanczos on tensors")
    found = resize_like_torchvision(PIXELS, width, height, interpolation)
    assert found.dtype == np.uint8
    assert_array_equal(found, expected.permute(1, 2, 0).numpy())


def test_resize_like_torchvision__takes_pillows_memory_and_leaves_it(photographs):
    picture = photographs[0]
    before = picture.tobytes()
    found = apply_fixed_step(picture, Resize((64, 96), interpolation="bicubic", backend="torchvision"))
    pillow = np.asarray(picture.resize((96, 64), Image.Resampling.BICUBIC)).astype(int)
    assert 0 < np.abs(found.astype(int) - pillow).max() <= 2
    assert picture.tobytes() == before
    assert apply_fixed_step(found, CenterCrop(32)).shape == (32, 32, 3)


def test_resize_like_torchvision__too_old_for_the_filter(monkeypatch):
    def refuse(*arguments, **keywords):
        raise NotImplementedError("Input Error: Got lanczos")

    monkeypatch.setattr("torchvision.transforms.v2.functional.resize", refuse)
    with pytest.raises(MissingPackageError, match=r"0\.27 or newer .* lanczos.*Got lanczos.*pillow"):
        resize_like_torchvision(PIXELS, 8, 8, "lanczos")
