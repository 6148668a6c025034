"""Registers our classes with ModelScope by name, without importing them or ModelScope.

ModelScope builds a class from its name: its index tells which module to import for the name, and that module
registers the class. So it is enough to point the index at our modules; each of them imports the stock module that
it replaces and then registers over it.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from modelscope_beit import names

# The module of the host that holds the index.
_INDEX_MODULE = "modelscope.utils.import_utils"

# File of this folder -> what it registers: (registry, group, name). plugin/trainer.py will have its line here.
_REGISTERED = {
    "model": [("MODELS", names.TASK, names.MODEL)],
    "preprocessor": [
        ("PREPROCESSORS", names.PREPROCESSOR_GROUP, names.PREPROCESSOR),
        ("PREPROCESSORS", names.PREPROCESSOR_GROUP, names.BYPASS_PREPROCESSOR),
    ],
    "pipeline": [("PIPELINES", names.TASK, name) for name in names.PIPELINES],
}


def register() -> None:
    """Makes ModelScope build our classes under the stock names: at once, or as soon as it is imported.

    ModelScope imports torch, which takes seconds; a program that never asks ModelScope for anything
    (``beit --help``) should not pay for it.
    """
    if _INDEX_MODULE in sys.modules:
        _point_index_at_us(sys.modules[_INDEX_MODULE])
    elif not any(isinstance(finder, _RegisterAfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterAfterImport())


class _RegisterAfterImport:
    """Finds the module with the host's index where Python finds it, and registers us when it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _INDEX_MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return None
        run_module = spec.loader.exec_module

        def run_and_register(module: ModuleType) -> None:
            run_module(module)
            _point_index_at_us(module)

        spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec


def _point_index_at_us(index_module: ModuleType) -> None:
    index: dict[tuple[str, str, str], Any] = index_module.LazyImportModule.get_ast_index()["index"]
    for stem, keys in _REGISTERED.items():
        entry = {
            "filepath": str(Path(__file__).with_name(f"{stem}.py")),
            "imports": [],
            "module": f"modelscope_beit.plugin.{stem}",
        }
        index.update(dict.fromkeys(keys, entry))
