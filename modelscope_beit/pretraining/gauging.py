"""What is measured every so often while a stage is trained, beside its loss.

Every process measures the same pictures, so none waits for another; the first one tells.
"""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.data.batches import evaluation_batches, sample_batches
from modelscope_beit.data.records import Records
from modelscope_beit.features.neighbours import vote
from modelscope_beit.pretraining.run import PretrainingProgress, completed
from modelscope_beit.pretraining.stage import StageBatch

# As in DINO's evaluation.
NEIGHBOURS = 20

# Sets the random numbers of the gauges' views and masks apart from those of the training.
_GAUGES = 0x67617567


def take_gauges(run: PretrainingProgress, epoch: int) -> None:
    """Measures and tells; the network is in evaluation mode afterwards, and random numbers go on as if nothing was."""
    told = {name: _mean(values) for name, values in run.measurements.items()}
    run.measurements.clear()
    run.network.eval()
    with torch.no_grad(), run.accelerator.autocast(), _undisturbed(run):
        with closing(aside_batches(run)) as batches:
            told |= run.job.stage.gauges(batches)
        if run.job.labelled is not None:
            told |= neighbour_accuracies(run)
    row = {"iteration": float(run.progress.iterations), **told}
    run.history.append(row)
    num_images = 0 if run.aside is None else len(run.aside)
    run.log.evaluated(run.progress.iterations, epoch + 1, told, is_best=False, num_images=num_images)


def aside_batches(run: PretrainingProgress) -> Generator[StageBatch, None, None]:
    """Yields completed batches of the pictures that are set aside, each time the same views and masks of them."""
    if run.aside is None:
        return
    batch_size = min(run.job.recipe.batch_size, len(run.aside))
    seed = int(np.random.default_rng((run.job.recipe.seed, _GAUGES)).integers(1 << 32))
    batches = sample_batches(
        run.aside,
        run.job.stage.sample,
        seed=seed,
        epoch=0,
        batch_size=batch_size,
        workers=run.job.recipe.workers,
        rank=0,
        world_size=1,
    )
    with closing(batches):
        for batch in batches:
            yield completed(run, batch)


def neighbour_accuracies(run: PretrainingProgress) -> dict[str, float]:
    """Returns the k-NN accuracy, in percent, of each kind of feature on the labelled pictures."""
    assert run.job.labelled is not None, "callers have asked whether there are any"
    known, queries = run.job.labelled.train, run.job.labelled.validation
    features, labels = _features(run, known)
    asked, answers = _features(run, queries)
    found = {}
    for name in features:
        k = min(NEIGHBOURS, len(labels))
        chosen = vote(features[name], labels, asked[name], ks=[k], num_classes=len(known.class_names))[k]
        found[f"knn_{name}"] = 100 * float((chosen == answers).double().mean())
    return found


def _features(run: PretrainingProgress, records: Records) -> tuple[dict[str, Tensor], Tensor]:
    """Returns name -> (N, C), and the labels (N,); at most neighbour_pictures of them, drawn by the seed."""
    recipe = run.job.recipe
    if len(records) > recipe.neighbour_pictures > 0:
        drawn = np.random.default_rng((recipe.seed, _GAUGES)).permutation(len(records))[: recipe.neighbour_pictures]
        records = records.select(np.sort(drawn), records.description)
    found: dict[str, list[Tensor]] = {}
    labels = []
    batches = evaluation_batches(
        records,
        run.job.stage.view,
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        rank=0,
        world_size=1,
    )
    for batch in batches:
        labels.append(batch.labels)
        for name, feature in run.job.stage.features(batch.images.to(run.accelerator.device)).items():
            found.setdefault(name, []).append(feature.float().cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(labels)


def _mean(values: list[Tensor]) -> float:
    """Returns the mean of those that are finite: fp16 passes over steps whose gradient is too large for it."""
    stacked = torch.stack(values)
    finite = stacked[torch.isfinite(stacked)]
    return float(finite.mean()) if len(finite) else 0.0


@contextmanager
def _undisturbed(run: PretrainingProgress) -> Iterator[None]:
    """Leaves torch's random numbers as they were, so that measuring changes no training."""
    device = run.accelerator.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
