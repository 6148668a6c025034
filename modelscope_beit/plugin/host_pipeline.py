"""Opens a model through ModelScope's own ``pipeline()``, for our commands, which do not import ModelScope."""

from pathlib import Path

from modelscope.pipelines import pipeline
from modelscope.pipelines.base import Pipeline

from modelscope_beit import names


def open_pipeline(model: str | Path) -> Pipeline:
    """Returns what ModelScope makes of a model folder or hub id on the processor, as the model cards' scripts do."""
    opened: Pipeline = pipeline(names.TASK, model=str(model), device="cpu")
    return opened
