"""Work-arounds of the host, each with the version of ModelScope that it was seen in."""

import importlib
from collections.abc import Sequence
from typing import Any

from modelscope.utils.registry import Registry, default_group


def register_over(
    stock_module: str, registry: Registry, group: str, module_names: Sequence[str], our_class: type
) -> None:
    """Registers our class under names of the stock module, whenever that module is imported.

    A registry refuses a second class of the same name, so the stock module is imported first and ours replaces it.
    ModelScope 1.40: modelscope.preprocessors.image imports OpenCV at its top, and the stock pipeline imports that
    module; both fail on a plain install. Once OpenCV is there they may still be imported, in a notebook for
    instance, and must then neither fail nor take the names back.
    """
    try:
        importlib.import_module(stock_module)
    except ImportError:
        _keep_names(registry, group, frozenset(module_names))
    for name in module_names:
        registry.register_module(group, module_name=name, module_cls=our_class, force=True)


def _keep_names(registry: Registry, group: str, kept: frozenset[str]) -> None:
    """Lets the registry pass over a class that asks for one of these names, unless it does so with force."""
    register = registry._register_module

    def register_others(
        group_key: str = default_group,
        module_name: str | None = None,
        module_cls: Any = None,
        force: bool = False,
    ) -> None:
        if group_key == group and module_name in kept and not force:
            module_cls.group_key = group_key
        else:
            register(group_key=group_key, module_name=module_name, module_cls=module_cls, force=force)

    registry._register_module = register_others
