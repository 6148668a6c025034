"""mmcv's own hooks of learning rate and momentum, run without its runner."""

from collections.abc import Container, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch


def run_hook(
    kind: str,
    config: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    *,
    per_epoch: int,
    epochs: int | None = None,
    iterations: int | None = None,
    visits: Container[int] | None = None,
) -> Iterator[int]:
    """Runs mmcv's own hook on the optimizer as its runner calls it; yields each iteration after before_train_iter.

    kind: "lr" or "momentum". visits: the iterations to run, all without it. Rates do not depend on those before, but
    the end of a warm-up has to be one of them.
    """
    base_runner = pytest.importorskip("mmcv.runner.base_runner", reason="mmcv is the oracle")
    pytest.importorskip("mmcls.core", reason="mmcls has the hook with a cool-down")
    hooks: list[Any] = []
    runner = SimpleNamespace(
        optimizer=optimizer,
        data_loader=range(per_epoch),
        epoch=0,
        iter=0,
        max_epochs=epochs,
        max_iters=iterations if epochs is None else epochs * per_epoch,
        register_hook=lambda hook, priority: hooks.append(hook),
    )
    if epochs is None:
        config.setdefault("by_epoch", False)
    getattr(base_runner.BaseRunner, f"register_{kind}_hook")(runner, config)
    (hook,) = hooks
    hook.before_run(runner)
    for iteration in range(runner.max_iters):
        runner.iter = iteration
        runner.epoch = iteration // per_epoch
        if epochs is not None and iteration % per_epoch == 0:
            hook.before_train_epoch(runner)
        if visits is not None and iteration not in visits:
            continue
        try:
            hook.before_train_iter(runner)
        except ZeroDivisionError:
            # mmcv's OneCycle fails on a phase without extent.
            assert config["type"].startswith("OneCycle")
            return
        yield iteration
