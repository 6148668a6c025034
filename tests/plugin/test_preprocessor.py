"""Both preprocessors beside the stock ones."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from modelscope.preprocessors import Preprocessor
from PIL import Image

import helpers
from modelscope_beit.plugin.preprocessor import (
    ImageClassificationBypassPreprocessor,
    ImageClassificationMmcvPreprocessor,
)


def bgr(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))[:, :, ::-1]


@pytest.mark.openmmlab
@pytest.mark.skipif(find_spec("mmcls") is None, reason="the stock preprocessor needs mmcls")
def test_preprocessor__gives_the_stock_pixels(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    from modelscope.preprocessors.cv.mmcls_preprocessor import ImageClassificationMmcvPreprocessor as Stock

    stock, ours = Stock(str(tiny_model_folder)), ImageClassificationMmcvPreprocessor(str(tiny_model_folder))
    for path in ten_images:
        expected = stock(bgr(path))["img"]
        result = ours(bgr(path))["img"]
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
        assert torch.equal(result, expected), path


def test_preprocessor__takes_a_picture_too(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    ours = ImageClassificationMmcvPreprocessor(str(tiny_model_folder))
    assert torch.equal(ours(Image.open(ten_images[0]))["img"], ours(bgr(ten_images[0]))["img"])
    assert ours.config_type == "ms_config"


def test_preprocessor__is_what_the_host_builds(tiny_model_folder: Path) -> None:
    """With the whole `preprocessor` section among the keywords."""
    built = Preprocessor.from_pretrained(str(tiny_model_folder), type="image-classification-mmcv-preprocessor", x=1)
    assert type(built) is ImageClassificationMmcvPreprocessor
    assert built.mode == "inference"


def test_bypass_preprocessor__does_what_the_stock_one_does(tiny_model_folder: Path) -> None:
    pytest.importorskip("cv2", reason="the stock classes need OpenCV, which comes with mmcv")
    from modelscope.preprocessors.image import ImageClassificationBypassPreprocessor as Stock

    built = Preprocessor.from_pretrained(str(tiny_model_folder))
    assert type(built) is ImageClassificationBypassPreprocessor
    assert type(built).__name__ == Stock.__name__
    assert built.preprocessor_train_cfg is None
    assert built.preprocessor_val_cfg == helpers.TINY_CONFIGURATION["preprocessor"]["val"]
    keywords = {"train": [{"type": "x"}], "val": [], "training": False, "model_dir": "y"}
    stock, ours = Stock(**keywords), ImageClassificationBypassPreprocessor(**keywords)
    for change in (None, "train", "eval"):
        if change:
            assert getattr(stock, change)() is getattr(ours, change)() is None
        assert vars(ours) == vars(stock)
    assert ours({"img": 1}) is stock({"img": 1}) is None
