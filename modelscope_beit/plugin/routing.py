"""Decides who serves a model folder: our classes, or the stock ones of ModelScope."""

import json
from pathlib import Path

from modelscope_beit import names


def is_ours(model_folder: str | Path) -> bool:
    """Tells whether our classes serve a folder: whether its model is a ClassificationModel, whoever builds its network.

    A folder whose configuration.json cannot be read is ours: opening it says what is wrong with it.
    """
    file = Path(model_folder) / names.CONFIGURATION_FILE
    try:
        model = json.loads(file.read_text(encoding="utf-8"))["model"]
        return bool(model.get("type", model.get("model_type")) == names.MODEL)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return True
