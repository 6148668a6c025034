"""What our commands get is ModelScope's pipeline, and ours behind it."""

from pathlib import Path

from modelscope_beit.plugin.host_pipeline import open_pipeline
from modelscope_beit.plugin.pipeline import BeitImageClassificationPipeline


def test_open_pipeline__opens_a_folder_on_the_processor(tiny_model_folder: Path) -> None:
    opened = open_pipeline(tiny_model_folder)
    assert isinstance(opened, BeitImageClassificationPipeline)
    assert opened.device.type == "cpu"
