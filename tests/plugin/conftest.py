"""Fixtures of the plug-in's tests: the tiny folder behind ModelScope's own `pipeline`."""

from pathlib import Path

import pytest
from modelscope.pipelines import pipeline

from modelscope_beit.plugin.pipeline import BeitImageClassificationPipeline


@pytest.fixture
def tiny_pipeline(tiny_model_folder: Path) -> BeitImageClassificationPipeline:
    """What a script gets for the tiny folder: 32 x 32 pixels, five classes."""
    built = pipeline("image-classification", model=str(tiny_model_folder), device="cpu")
    assert isinstance(built, BeitImageClassificationPipeline)
    return built
