"""The estimate of a run, beside what the run then does."""

from pathlib import Path
from typing import Any

import pytest

import training_jobs
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.training.dry_run import estimate_run
from modelscope_beit.training.finetune import finetune


@pytest.mark.parametrize(
    ("train", "iterations", "steps"),
    [
        ({"max_epochs": 3}, 18, 18),
        # Six batches an epoch in groups of four: a step never spans the end of an epoch.
        ({"max_epochs": 3, "optimizer_config": {"cumulative_iters": 4}}, 18, 6),
        (
            {
                "runner": {"type": "IterBasedRunner", "max_iters": 8},
                "max_epochs": None,
                "optimizer_config": {"cumulative_iters": 4},
            },
            8,
            3,
        ),
    ],
)
def test_estimate_run__counts_what_the_run_does(
    tmp_path: Path, train: dict[str, Any], iterations: int, steps: int
) -> None:
    job = training_jobs.make_job(tmp_path / "run", training_jobs.configuration(train))
    estimate = estimate_run(job)
    assert (estimate.iterations, estimate.steps, estimate.iterations_per_epoch) == (iterations, steps, 6)
    assert (estimate.device, estimate.precision, estimate.num_processes) == ("cpu", "fp32", 1)
    assert estimate.time.seconds == pytest.approx(steps * estimate.time.seconds_per_iteration)
    assert not (tmp_path / "run").exists()
    assert finetune(job).iterations == iterations


@pytest.mark.parametrize(
    ("optimizer", "tensors"),
    [
        ({"type": "AdamW", "lr": 1e-3}, 2),
        ({"type": "SGD", "lr": 1e-3, "momentum": 0.9}, 1),
        ({"type": "SGD", "lr": 1e-3}, 0),
    ],
)
def test_estimate_run__memory_of_the_optimizer(tmp_path: Path, optimizer: dict[str, Any], tensors: int) -> None:
    job = training_jobs.make_job(tmp_path / "run", training_jobs.configuration({"optimizer": optimizer}))
    memory = estimate_run(job).memory
    weights = 4 * sum(weight.numel() for weight in build_classifier(job.settings.model).parameters())
    assert memory.weights == weights
    assert memory.optimizer == tensors * weights
