"""Registers our classes with ModelScope by name, without importing them or ModelScope.

ModelScope builds a class from its name: its index tells which module to import for the name, and that module
registers the class. So it is enough to point the index at our modules; each of them imports the stock module that
it replaces, if there is one, and then registers over it.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from modelscope_beit import names
from modelscope_beit.plugin.after_import import after_import
from modelscope_beit.plugin.host_server import mend_server

# The module of the host that holds the index.
_INDEX_MODULE = "modelscope.utils.import_utils"
# The module of the host that patches transformers, and what it patches.
_PATCHING_MODULE = "modelscope.utils.automodel_utils"
_PATCHED_MODULE = "transformers.modeling_utils"

# File of this folder -> what it registers: (registry, group, name).
_REGISTERED = {
    "model": [("MODELS", names.TASK, names.MODEL)],
    "preprocessor": [
        ("PREPROCESSORS", names.PREPROCESSOR_GROUP, names.PREPROCESSOR),
        ("PREPROCESSORS", names.PREPROCESSOR_GROUP, names.BYPASS_PREPROCESSOR),
    ],
    "pipeline": [("PIPELINES", names.TASK, name) for name in names.PIPELINES],
    "trainer": [("TRAINERS", names.TRAINER_GROUP, names.TRAINER)],
    "pretraining_trainer": [("TRAINERS", names.TRAINER_GROUP, name) for name in names.PRETRAINING_TRAINERS.values()],
    "exporter": [("EXPORTERS", names.TASK, names.MODEL)],
    "segmentation_model": [("MODELS", task, names.SEGMENTATION) for task in names.SEGMENTATION_TASKS],
    "segmentation_pipeline": [("PIPELINES", task, names.SEGMENTATION) for task in names.SEGMENTATION_TASKS],
}


def register() -> None:
    """Makes ModelScope build our classes under the stock names: at once, or as soon as it is imported.

    ModelScope imports torch, which takes seconds; a program that never asks ModelScope for anything
    (``beit --help``) should not pay for it.
    """
    after_import(_INDEX_MODULE, _point_index_at_us)
    mend_server()
    if _PATCHING_MODULE not in sys.modules:
        after_import(_PATCHING_MODULE, _patch_transformers_when_imported)


def _point_index_at_us(index_module: ModuleType) -> None:
    index: dict[tuple[str, str, str], Any] = index_module.LazyImportModule.get_ast_index()["index"]
    for stem, keys in _REGISTERED.items():
        entry = {
            "filepath": str(Path(__file__).with_name(f"{stem}.py")),
            "imports": [],
            "module": f"modelscope_beit.plugin.{stem}",
        }
        index.update(dict.fromkeys(keys, entry))


def _patch_transformers_when_imported(patching_module: ModuleType) -> None:
    """Lets the host's patch of transformers wait until somebody imports what it patches.

    ModelScope 1.40 imports all of transformers' model code for it whenever modelscope.models is imported, which is
    half of the time that importing modelscope.pipelines takes.
    """
    patch = patching_module.fix_transformers_upgrade
    vars(patching_module)["fix_transformers_upgrade"] = lambda: after_import(_PATCHED_MODULE, lambda _: patch())
