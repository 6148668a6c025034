"""A table of features -> how much is in them: votes of neighbours, a linear probe, curves of few shots."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modelscope_beit.data.splitting import VALIDATION_SHARE
from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.confidence import Interval, share_interval
from modelscope_beit.features.few_shots import FewShots, few_shot_curve
from modelscope_beit.features.linear_models import fit_linear_models
from modelscope_beit.features.neighbours import vote
from modelscope_beit.features.table import FeatureTable

KS = (1, 5, 10, 20)
# Half decades. Mean cross-entropy does not depend on the number of pictures, so one range serves all data.
STRENGTHS = tuple(float(strength) for strength in 10 ** np.arange(-4, 1.25, 0.5))


@dataclass(frozen=True)
class Trial:
    """One strength of the L2 penalty: accuracy, 0 to 1, and mean cross-entropy on the held-out pictures."""

    strength: float
    accuracy: float
    loss: float
    has_converged: bool


@dataclass(frozen=True)
class Probe:
    """What was found on the validation part; accuracies from 0 to 1.

    neighbours: k -> accuracy of k-NN. linear: of the linear probe, by the strength that was best on a held-out part of
    the training pictures. trials: all strengths. shots: see few_shots.
    """

    num_train: int
    num_validation: int
    num_classes: int
    neighbours: dict[int, Interval]
    linear: Interval
    strength: float
    trials: list[Trial]
    shots: list[FewShots]

    def as_json(self) -> dict[str, object]:
        """Returns everything as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Part:
    features: Tensor
    labels: Tensor


def probe_features(table: FeatureTable, *, seed: int, device: str | torch.device = "cpu") -> Probe:
    """Returns what classifiers on the features of "train" get right of "validation".

    seed: of the held-out part and of the few shots. Pictures without a feature are left out.
    Raises SettingsError if a part has no picture, if pictures have no label or several, or if no class has the two
    training pictures that choosing the strength takes.
    """
    names = _class_names(table)
    train, validation = (_part(table, split, names, device) for split in ("train", "validation"))
    voted = vote(train.features, train.labels, validation.features, ks=KS, num_classes=len(names))
    trials = _trials(train, len(names), seed)
    # Of equally many right answers the more confident ones.
    best = max(trials, key=lambda trial: (trial.accuracy, -trial.loss))
    strength = torch.tensor([best.strength], device=device)
    models = fit_linear_models(train.features, train.labels, strength, num_classes=len(names))
    return Probe(
        num_train=len(train.labels),
        num_validation=len(validation.labels),
        num_classes=len(names),
        neighbours={k: _interval(chosen == validation.labels) for k, chosen in voted.items()},
        linear=_interval(models.logits(validation.features, 0).argmax(dim=1) == validation.labels),
        strength=best.strength,
        trials=trials,
        shots=few_shot_curve(
            train.features, train.labels, validation.features, validation.labels, num_classes=len(names), seed=seed
        ),
    )


def _class_names(table: FeatureTable) -> list[str]:
    """Returns the names of all classes that have a picture, sorted."""
    names = set()
    for path, label in zip(table.paths, table.labels, strict=True):
        if not isinstance(label, str):
            raise SettingsError(f"A probe needs pictures with one label each, but {path} has {label or 'none'}.")
        names.add(label)
    return sorted(names)


def _part(table: FeatureTable, split: str, names: list[str], device: str | torch.device) -> _Part:
    numbers = {name: number for number, name in enumerate(names)}
    rows = [row for row, own in enumerate(table.splits) if own == split and row not in table.errors]
    if not rows:
        raise SettingsError(f"A probe needs a training and a validation part, but no picture of {split} can be read.")
    labels = torch.tensor([numbers[str(table.labels[row])] for row in rows])
    return _Part(torch.from_numpy(table.features[rows]).to(device), labels.to(device))


def _trials(train: _Part, num_classes: int, seed: int) -> list[Trial]:
    """Trains with all strengths at once on four fifths of the training pictures and measures on the others."""
    is_held_out = torch.from_numpy(held_out(train.labels.cpu().numpy(), seed=seed)).to(train.labels.device)
    if not is_held_out.any():
        raise SettingsError("A linear probe needs two training pictures of a class at least; give more pictures.")
    kept, other = ~is_held_out, is_held_out
    strengths = torch.tensor(STRENGTHS, device=train.features.device)
    models = fit_linear_models(train.features[kept], train.labels[kept], strengths, num_classes=num_classes)
    trials = []
    for number, strength in enumerate(STRENGTHS):
        logits = models.logits(train.features[other], number)
        right = logits.argmax(dim=1) == train.labels[other]
        loss = float(F.cross_entropy(logits, train.labels[other]))
        trials.append(Trial(strength, float(right.double().mean()), loss, bool(models.has_converged[number])))
    return trials


def held_out(labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Returns (N,) bool: a fifth of each class, drawn by the seed; one of two to seven pictures, none of one."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chosen[rows[: min(max(1, round(VALIDATION_SHARE * len(rows))), len(rows) - 1)]] = True
    return chosen


def _interval(is_right: Tensor) -> Interval:
    return share_interval(is_right.cpu().numpy())
