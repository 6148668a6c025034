"""What happens between steps: validation, checkpoints, the best one, the model folder, and the end."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from modelscope_beit import names
from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.data.batches import Batch, evaluation_batches
from modelscope_beit.errors import TrainingError
from modelscope_beit.evaluation.measuring import measure
from modelscope_beit.evaluation.metrics import metrics_of
from modelscope_beit.model_folder.writing import write_model_folder
from modelscope_beit.settings.early_stopping import is_improvement
from modelscope_beit.settings.evaluation import AUTO, is_better, is_due
from modelscope_beit.training.job import TrainingResult
from modelscope_beit.training.run import Run, losses_of
from modelscope_beit.training.run_card import run_card
from modelscope_beit.training.run_folder import RunFolder
from modelscope_beit.training.run_state import capture


def pass_milestones(run: Run, num_iterations: int, *, is_last: bool) -> None:
    """Validates, saves and writes the model folder, if that is due after the latest iterations; may end the run early.

    num_iterations: how many of them came together. is_last: a signal ends the run, so its state has to be saved.
    """
    evaluation, checkpoint = run.job.recipe.evaluation, run.job.recipe.checkpoint
    is_validation_due = any(is_due(evaluation, count) for count in _counts(run, num_iterations, evaluation.by_epoch))
    is_saving_due = checkpoint.interval > 0 and any(
        count % checkpoint.interval == 0 for count in _counts(run, num_iterations, checkpoint.by_epoch)
    )
    is_saving_due |= is_last
    if is_validation_due or is_saving_due or _is_end(run):
        check_losses(run)
        _share_statistics(run)
    best = {}
    if is_validation_due and run.job.recipe.validates and run.job.validation is not None:
        best = _validate(run)
        run.network.train()
        stop_if_fruitless(run)
    is_saving_due |= _is_end(run) and checkpoint.save_last
    if run.job.recipe.has_validation_phase and _epoch_is_complete(run) and run.job.validation is not None:
        _log_validation_loss(run)
        run.network.train()
    if best or is_saving_due:
        _save(run, best, is_regular=is_saving_due)


def stop_if_fruitless(run: Run) -> None:
    """Makes this iteration the run's last one, if as many evaluations as early stopping waits for were fruitless."""
    stopping, progress = run.job.recipe.early_stopping, run.progress
    # One decision for all processes, whatever each of them makes of its last digits.
    if stopping is None or not run.processes.any(progress.fruitless >= stopping.patience) or _is_end(run):
        return
    key = progress.best.get("key", run.job.recipe.evaluation.save_best)
    margin = f" by more than {stopping.min_delta:g}" if stopping.min_delta else ""
    before = "a number" if progress.improvement is None else f"better than {progress.improvement:.4f}{margin}"
    run.stopped_early = (
        f"Stopped early after iteration {progress.iterations} of {run.total_iterations}: {key} was not {before} in "
        f"the last {progress.fruitless} evaluations, and train.early_stopping.patience is {stopping.patience}."
    )
    run.total_iterations = progress.iterations


def check_losses(run: Run) -> None:
    """Raises TrainingError if a loss since the last look is not finite; nothing bad has been saved then."""
    if not run.unchecked:
        return
    losses = torch.stack(run.unchecked)
    bad = (~torch.isfinite(losses)).nonzero().flatten()
    first = run.progress.iterations - len(losses)
    run.unchecked.clear()
    if len(bad) == 0:
        return
    number = first + int(bad[0])
    epoch, place = divmod(number, run.iterations_per_epoch)
    kept = run.processes.gathered(run.folder and run.folder.record["checkpoints"])[0]
    raise TrainingError(
        f"The loss became {losses[bad[0]].item()} at iteration {number + 1} (epoch {epoch + 1}, batch {place + 1}). "
        f"The last good checkpoint is {kept[-1]['file'] if kept else 'none yet: the start weights'}. A lower "
        "train.optimizer.lr, a longer warm-up or optimizer_config.grad_clip usually helps; with fp16, so does bf16."
    )


def finish(run: Run, *, was_interrupted: bool) -> TrainingResult:
    """Says how the run ended, and returns it."""
    record: dict[str, Any] = run.folder.record if run.folder is not None else {"checkpoints": [], "best": {}}
    best, checkpoints = record["best"], record["checkpoints"]
    work_dir = run.job.work_dir
    newest = work_dir / checkpoints[-1]["file"] if checkpoints else None
    if was_interrupted:
        run.log.note(f"Stopped by a signal after iteration {run.progress.iterations}; saved as {newest}.")
        run.log.note(f"To go on: {names.COMMAND} resume {work_dir}, or the trainer with resume_from={str(newest)!r}.")
    elif run.folder is not None:
        if run.stopped_early:
            _tell_early_end(run, run.folder)
        run.folder.finish()
        if best:
            run.log.note(f"Best: {best['key']} {best['score']:.4f} at epoch {best['epoch']}, {best['file']}.")
    # What follows in any process may ask for the files of the first one.
    run.accelerator.wait_for_everyone()
    output = work_dir / names.RUN_OUTPUT
    return TrainingResult(
        iterations=run.progress.iterations,
        epochs=run.progress.iterations // run.iterations_per_epoch,
        was_interrupted=was_interrupted,
        checkpoint=newest,
        best_checkpoint=work_dir / best["file"] if best else None,
        best_metrics=dict(best.get("metrics", {})),
        output=output if output.exists() else None,
        stopped_early=run.stopped_early,
    )


def _tell_early_end(run: Run, folder: RunFolder) -> None:
    """Tells it to the log, the record and the card of the model folder, which was written when its weights were new."""
    run.log.stopped_early(run.stopped_early)
    folder.record["stopped_early"] = run.stopped_early
    card = run.job.work_dir / names.RUN_OUTPUT / names.CARD_FILE
    if card.exists():
        text = _card(run, folder.record["best"])
        write_atomically(card, lambda beside: beside.write_text(text, encoding="utf-8"))


@torch.no_grad()
def _share_statistics(run: Run) -> None:
    """Gives all processes what batch norm, or a loss, has counted in the first one.

    So they measure with equal networks, and go on from here as they would from the checkpoint. mmcls does the former
    (mmcv's EvalHook, broadcast_bn_buffer).
    """
    for module in (run.network, run.loss_of):
        if isinstance(module, nn.Module):
            trained = {name for name, _ in module.named_parameters()}
            state = module.state_dict()
            run.processes.take_over(tensor for name, tensor in state.items() if name not in trained)


def _is_end(run: Run) -> bool:
    return run.progress.iterations >= run.total_iterations


def _counts(run: Run, num_iterations: int, by_epoch: bool) -> range:
    """Returns the numbers, from 1, of the epochs (or iterations) that the latest iterations have completed."""
    if by_epoch:
        return range(_epoch(run), _epoch(run) + _epoch_is_complete(run))
    return range(run.progress.iterations - num_iterations + 1, run.progress.iterations + 1)


def _epoch_is_complete(run: Run) -> bool:
    return run.progress.iterations % run.iterations_per_epoch == 0


def _epoch(run: Run) -> int:
    """Returns the number of the epoch that the latest iteration belongs to, from 1."""
    return (run.progress.iterations - 1) // run.iterations_per_epoch + 1


def _validate(run: Run) -> dict[str, Any]:
    """Measures the network, or its average, on the validation data; returns the new best result, if it is one."""
    settings = run.job.recipe.evaluation
    if run.average is not None:
        with run.average.in_place_of_weights():
            metrics = _metrics(run)
    else:
        metrics = _metrics(run)
    best: dict[str, Any] = {}
    if settings.save_best is not None:
        key = next(iter(metrics)) if settings.save_best == AUTO else settings.save_best
        _count_fruitless(run, key, metrics[key])
        before = run.progress.best.get("score")
        if is_better(settings.rule, key, metrics[key], before):
            kind, number = ("epoch", _epoch(run)) if settings.by_epoch else ("iter", run.progress.iterations)
            best = {
                "file": f"best_{key}_{kind}_{number}.pth",
                "key": key,
                "score": float(metrics[key]),
                "epoch": _epoch(run),
                "iterations": run.progress.iterations,
                "metrics": metrics,
            }
            run.progress.best = best
    assert run.job.validation is not None, "it was there when the validation became due"
    run.log.evaluated(
        run.progress.iterations, _epoch(run), metrics, is_best=bool(best), num_images=len(run.job.validation)
    )
    return best


def _count_fruitless(run: Run, key: str, score: float) -> None:
    """Counts the evaluations since the last improvement; called before the best result is brought up to date."""
    stopping, progress = run.job.recipe.early_stopping, run.progress
    if stopping is None:
        return
    if progress.improvement is None:
        # Early stopping may begin in the middle of a run that is resumed.
        progress.improvement = progress.best.get("score")
    if is_improvement(stopping, run.job.recipe.evaluation.rule, key, score, progress.improvement):
        progress.improvement, progress.fruitless = float(score), 0
    else:
        progress.fruitless += 1


def _metrics(run: Run) -> dict[str, Any]:
    recipe = run.job.recipe
    outcomes = measure(
        run.network,
        _evaluation_batches(run),
        class_names=run.job.settings.class_names or (),
        device=run.accelerator.device,
        precision=run.precision,
    )
    metrics = metrics_of(outcomes, recipe.evaluation.metrics, recipe.evaluation.options)
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in metrics.items()}


def _evaluation_batches(run: Run) -> Iterator[Batch]:
    assert run.job.validation is not None, "callers have asked whether there is validation data"
    batches = evaluation_batches(
        run.job.validation,
        run.evaluation_transform,
        batch_size=run.job.recipe.evaluation_batch_size,
        workers=run.job.recipe.evaluation_workers,
        rank=run.accelerator.process_index,
        world_size=run.accelerator.num_processes,
    )
    return run.processes.each(batches)


@torch.no_grad()
def _log_validation_loss(run: Run) -> None:
    """mm's workflow [("train", 1), ("val", 1)]: the mean loss on the validation data, prepared as for evaluation."""
    run.network.eval()
    sums = torch.zeros(2, dtype=torch.float64)
    for batch in _evaluation_batches(run):
        device = run.accelerator.device
        losses = losses_of(run, batch.images.to(device), batch.labels.to(device)).cpu() * batch.weights
        sums += torch.tensor([losses.sum().item(), batch.weights.sum().item()], dtype=torch.float64)
    sums = run.accelerator.reduce(sums.float().to(run.accelerator.device), reduction="sum")
    loss: Tensor = sums[0] / sums[1].clamp(min=1)
    run.log.evaluated(
        run.progress.iterations, _epoch(run), {"loss": loss.item()}, is_best=False, num_images=int(sums[1])
    )


def _save(run: Run, best: dict[str, Any], *, is_regular: bool) -> None:
    """Writes what is due: the newest checkpoint, the best one, and the model folder of the best or newest weights."""
    state = capture(run.accelerator, run.network, run.optimizer, run.average, run.progress, run.loss_of)
    with run.processes.together():
        if run.folder is not None:
            _write(run, run.folder, state, best, is_regular=is_regular)


def _write(run: Run, folder: RunFolder, state: dict[str, Any], best: dict[str, Any], *, is_regular: bool) -> None:
    recipe = run.job.recipe
    meta = {**run.meta, "epoch": _epoch(run), "iter": run.progress.iterations}
    path = None
    if is_regular:
        by_epoch = recipe.checkpoint.by_epoch and _epoch_is_complete(run)
        name = f"epoch_{_epoch(run)}.pth" if by_epoch else f"iter_{run.progress.iterations}.pth"
        path = folder.save(
            name,
            state,
            meta,
            max_keep=recipe.checkpoint.max_keep_ckpts,
            create_symlink=recipe.checkpoint.create_symlink,
        )
    if best:
        folder.save_best(best, state, meta, same_as=path)
    if best or not folder.record["best"]:
        output, card = run.job.work_dir / names.RUN_OUTPUT, _card(run, best)
        write_model_folder(output, run.job.settings, state["state_dict"], card=card, overwrite=True)


def _card(run: Run, best: dict[str, Any]) -> str:
    return run_card(
        run.job,
        best,
        iterations=run.progress.iterations,
        precision=run.precision,
        num_processes=run.accelerator.num_processes,
        stopped_early=run.stopped_early,
    )
