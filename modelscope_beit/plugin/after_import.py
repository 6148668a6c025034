"""Does something as soon as somebody imports a module, without importing it now. Standard library only."""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Action = Callable[[ModuleType], None]


def after_import(module_name: str, action: Action) -> None:
    """Calls the action with the module: at once if it is imported already, otherwise when it has run.

    A second action for the same module replaces one that still waits.
    """
    if module_name in sys.modules:
        action(sys.modules[module_name])
        return
    for finder in sys.meta_path:
        if isinstance(finder, _AfterImport):
            finder.actions[module_name] = action
            return
    sys.meta_path.insert(0, _AfterImport({module_name: action}))


class _AfterImport:
    """Finds modules where Python finds them, and calls their action when they have run."""

    def __init__(self, actions: dict[str, Action]) -> None:
        self.actions = actions

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.actions:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return None
        run_module = spec.loader.exec_module

        def run_and_act(module: ModuleType) -> None:
            run_module(module)
            self.actions[fullname](module)

        spec.loader.exec_module = run_and_act  # type: ignore[method-assign]
        return spec
