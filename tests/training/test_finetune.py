"""The loop: what a step computes, and that a run goes on bit for bit."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import training_jobs
from modelscope_beit.errors import TrainingError
from modelscope_beit.training import finetune as finetune_module
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.interruption import Interruption
from training_jobs import configuration, make_job, weights_of


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def recipe(**changes: Any) -> dict[str, Any]:
    return configuration(changes)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, num_steps: int) -> None:
    """Lets the run be told to stop during its step number `num_steps`."""
    count = 0
    step = finetune_module.train_step

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return step(*arguments)

    monkeypatch.setattr(finetune_module, "train_step", counted)
    name = property(lambda _: "SIGTERM" if count == num_steps else None, lambda *_: None)
    monkeypatch.setattr(Interruption, "name", name, raising=False)


def test_finetune__learns_and_leaves_the_files_of_the_stock_trainer(tmp_path: Path) -> None:
    content = recipe(max_epochs=8, optimizer={"type": "AdamW", "lr": 3e-3})
    result = finetune(make_job(tmp_path / "run", content, num_train=66, num_validation=30))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {f"epoch_{number}.pth" for number in range(1, 9)} <= names
    assert {"latest.pth", "configuration.json", "20260101_000000.log", "20260101_000000.log.json", "output"} <= names
    assert result.best_checkpoint is not None
    assert result.best_checkpoint.name.startswith("best_accuracy_top-1_epoch_")
    assert result.epochs == 8
    assert result.best_metrics["accuracy_top-1"] > 55, "guessing gets a third"


def test_finetune__checkpoint_holds_only_tensors_and_plain_values(tmp_path: Path) -> None:
    finetune(make_job(tmp_path / "run", recipe(max_epochs=1)))
    content = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=True)
    assert content["meta"]["CLASSES"] == list(training_jobs.CLASSES)
    assert (content["meta"]["epoch"], content["meta"]["iter"]) == (1, 6)
    assert {"state_dict", "optimizer", "meta"} <= content.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "optimizer_config": {
                "grad_clip": {"max_norm": 0.5},
                "type": "GradientCumulativeOptimizerHook",
                "cumulative_iters": 4,
            }
        },
        {"custom_hooks": [{"type": "EMAHook", "momentum": 0.1}]},
        {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True}},
    ],
    ids=["plain", "accumulation", "ema", "sgd"],
)
def test_finetune__goes_on_bit_for_bit_in_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    finetune(make_job(tmp_path / "whole", recipe(**changes)))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        stopped = finetune(make_job(tmp_path / "parts", recipe(**changes)))
    assert stopped.was_interrupted
    assert stopped.checkpoint is not None
    torch.rand(3)  # Whatever happens between the two parts.
    ended = finetune(make_job(tmp_path / "parts", recipe(**changes, resume_from=str(stopped.checkpoint))))
    assert not ended.was_interrupted
    whole, parts = tmp_path / "whole" / "epoch_3.pth", tmp_path / "parts" / "epoch_3.pth"
    assert equal(weights_of(whole), weights_of(parts))


@pytest.fixture
def _graphs_without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets torch.compile record graphs, which must be whole, and run them as they are: the code takes a minute."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_module(self, backend="aot_eager", fullgraph=True))


@pytest.mark.usefixtures("_graphs_without_code")
def test_finetune__compiled_gives_the_same_weights_under_the_same_names(tmp_path: Path) -> None:
    for name, is_compiled in (("plain", False), ("compiled", True)):
        finetune(make_job(tmp_path / name, configuration({"max_epochs": 1, "compile": is_compiled}, drop_path=0.0)))
    plain, compiled = (weights_of(tmp_path / name / "epoch_1.pth") for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_graphs_without_code")
def test_finetune__compiled_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"max_epochs": 2, "compile": True}
    finetune(make_job(tmp_path / "whole", recipe(**changes)))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        stopped = finetune(make_job(tmp_path / "parts", recipe(**changes)))
    finetune(make_job(tmp_path / "parts", recipe(**changes, resume_from=str(stopped.checkpoint))))
    whole, parts = tmp_path / "whole" / "epoch_2.pth", tmp_path / "parts" / "epoch_2.pth"
    assert equal(weights_of(whole), weights_of(parts))


def test_finetune__step_is_that_of_plain_torch(tmp_path: Path) -> None:
    """One epoch without randomness, written down once more with nothing but torch, PIL and the transform's numbers."""
    content = configuration(
        {"max_epochs": 1, "lr_config": {"policy": "fixed"}, "optimizer": {"type": "SGD", "lr": 0.1}}, drop_path=0.0
    )
    content["model"]["mm_model"]["head"]["loss"] = {"type": "CrossEntropyLoss"}
    content["preprocessor"]["train"] = content["preprocessor"]["val"]
    job = make_job(tmp_path / "run", content, num_train=8)
    from modelscope_beit.checkpoints.load import load_classifier
    from modelscope_beit.images.evaluation_transform import EvaluationTransform

    classifier = load_classifier(job.settings.model, job.start_weights).train()
    transform = EvaluationTransform(job.settings.preprocessing)
    rows = training_jobs.crops(8)
    # One batch of all eight: their order does not matter then.
    job = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, batch_size=8))
    images = torch.stack([transform(row["image"]) for row in rows])
    loss = nn.functional.cross_entropy(classifier(images), torch.tensor([row["label"] for row in rows]))
    loss.backward()
    expected = {
        name: (weight - 0.1 * weight.grad).detach()
        for name, weight in classifier.named_parameters()
        if weight.grad is not None
    }
    finetune(job)
    trained = weights_of(tmp_path / "run" / "epoch_1.pth")
    for name, weight in expected.items():
        torch.testing.assert_close(trained[name], weight, rtol=0, atol=1e-6)


def test_finetune__accumulation_equals_the_larger_batch(tmp_path: Path) -> None:
    small = recipe(
        max_epochs=1,
        optimizer_config={"grad_clip": None, "type": "GradientCumulativeOptimizerHook", "cumulative_iters": 2},
    )
    large = recipe(max_epochs=1, dataloader={"batch_size_per_gpu": 8, "workers_per_gpu": 0})
    for content in (small, large):
        content["model"]["mm_model"]["backbone"]["drop_path_rate"] = 0.0
        content["train"]["lr_config"] = {"policy": "fixed"}
    finetune(make_job(tmp_path / "small", small, num_train=16))
    finetune(make_job(tmp_path / "large", large, num_train=16))
    first, second = (weights_of(tmp_path / name / "epoch_1.pth") for name in ("small", "large"))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=2e-5)


def test_finetune__out_of_memory_halves_the_pieces_and_keeps_the_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = recipe(max_epochs=1)
    content["model"]["mm_model"]["backbone"]["drop_path_rate"] = 0.0
    finetune(make_job(tmp_path / "roomy", content))
    from modelscope_beit.network.classifier import BeitClassifier

    forward = BeitClassifier.forward

    def small_memory(self: BeitClassifier, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return forward(self, images)

    monkeypatch.setattr(BeitClassifier, "forward", small_memory)
    finetune(make_job(tmp_path / "tight", content))
    assert "in 4 pieces" in (tmp_path / "tight" / "20260101_000000.log").read_text()
    roomy, tight = (weights_of(tmp_path / name / "epoch_1.pth") for name in ("roomy", "tight"))
    for name in roomy:
        torch.testing.assert_close(roomy[name], tight[name], rtol=0, atol=2e-5)


def test_finetune__says_so_when_not_even_one_picture_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelscope_beit.network.classifier import BeitClassifier

    def no_memory(self: BeitClassifier, images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(BeitClassifier, "forward", no_memory)
    with pytest.raises(TrainingError, match=r"does not suffice for 1 pictures at once.*with_cp"):
        finetune(make_job(tmp_path / "run"))


def test_finetune__loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelscope_beit.training import run as run_module

    build = run_module.build_loss

    def exploding(*arguments: Any, **options: Any) -> Any:
        loss_of, count = build(*arguments, **options), 0

        def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += 1
            return loss_of(logits, targets) * (math.nan if count == 9 else 1.0)

        return loss

    monkeypatch.setattr(run_module, "build_loss", exploding)
    with pytest.raises(TrainingError, match=r"nan at iteration 9 \(epoch 2, batch 3\).*epoch_1.pth"):
        finetune(make_job(tmp_path / "run"))
    assert all(torch.isfinite(weight).all() for weight in weights_of(tmp_path / "run" / "latest.pth").values())


def test_finetune__ema_is_what_is_evaluated_and_saved(tmp_path: Path) -> None:
    hooks = [{"type": "EMAHook", "momentum": 0.5, "warm_up": 1}]
    finetune(make_job(tmp_path / "plain", recipe(max_epochs=1)))
    finetune(make_job(tmp_path / "ema", recipe(max_epochs=1, custom_hooks=hooks)))
    plain = weights_of(tmp_path / "plain" / "epoch_1.pth")
    averaged = torch.load(tmp_path / "ema" / "epoch_1.pth", weights_only=True)
    assert equal(averaged["training"]["trained_weights"], plain)
    assert not equal(averaged["state_dict"], plain)


def test_finetune__frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    content = recipe(max_epochs=1)
    content["model"]["mm_model"]["backbone"]["frozen_stages"] = 1
    job = make_job(tmp_path / "run", content)
    finetune(job)
    before, after = weights_of(job.start_weights), weights_of(tmp_path / "run" / "epoch_1.pth")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [
        name
        for name in changed
        if name.startswith(("backbone.cls_token", "backbone.patch_embed", "backbone.blocks.0."))
    ]
