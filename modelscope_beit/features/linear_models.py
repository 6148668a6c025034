"""Multinomial logistic regressions on features: many of them at once, as one batch of convex problems.

Each minimises mean cross-entropy + strength / 2 * squares of its weights, on features that are standardised by their
own training pictures; the bias has no penalty. scikit-learn's LogisticRegression minimises the same for
C = 1 / (strength * pictures). Letters: B problems, N pictures, C channels, K classes.

The method: the features are turned to their principal axes, where the curvature of cross-entropy is at most half of
each axis's variance (D. Böhning, Multinomial logistic regression algorithm, 1992). So each weight has a safe step of
its own, with Nesterov's momentum, which begins again wherever it points uphill (O'Donoghue and Candès, 2015).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# The largest part of a gradient at which scikit-learn stops too, and where this gives up.
TOLERANCE = 1e-4
MOST_ITERATIONS = 3000

_LOGITS_AT_ONCE = 1 << 24
_EVEN = 1e-6  # A channel that varies by less than this part of its mean counts as constant.


@dataclass(frozen=True)
class LinearModels:
    """B classifiers of features as they are, not standardised.

    weights: (B, C, K). biases: (B, K). has_converged: (B,) bool, whether the gradient came below the tolerance.
    """

    weights: Tensor
    biases: Tensor
    has_converged: Tensor

    def logits(self, features: Tensor, problem: int) -> Tensor:
        """Returns (M, K) of features (M, C) by one of the classifiers."""
        return features @ self.weights[problem] + self.biases[problem]


def fit_linear_models(
    features: Tensor, labels: Tensor, strengths: Tensor, *, num_classes: int, tolerance: float = TOLERANCE
) -> LinearModels:
    """Returns the classifiers, all trained at once.

    features: (N, C) for all problems, or (B, N, C) floating. labels: (N,) or (B, N) int64. strengths: (B,), above 0.
    tolerance: of the largest part of the gradient.
    """
    features = features if features.ndim == 3 else features[None]
    labels = labels if labels.ndim == 2 else labels[None]
    mean, deviation = _mean_and_deviation(features)
    inputs, axes = _principal((features - mean) / deviation)
    weights, has_converged = _minimise(inputs, labels, strengths.to(features)[:, None, None], num_classes, tolerance)
    slopes = axes @ weights[:, :-1] / deviation.mT  # (B, C, K)
    biases = weights[:, -1] - (mean @ slopes)[:, 0]
    return LinearModels(slopes, biases, has_converged)


def _mean_and_deviation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two of (B or 1, 1, C); the deviation of a constant channel is 1."""
    deviation, mean = torch.std_mean(features, dim=1, correction=0, keepdim=True)
    return mean, torch.where(deviation <= _EVEN * mean.abs(), 1.0, deviation)


def _principal(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the inputs along their principal axes, with a last column of ones, and the axes (B or 1, C, R).

    Turning changes neither scores nor penalties; R is C or, of fewer pictures than channels, N.
    """
    pictures, channels = inputs.shape[1:]
    square = inputs if pictures <= channels else inputs.mT @ inputs
    axes = torch.linalg.svd(square, full_matrices=False).Vh.mT
    turned = inputs @ axes
    return torch.cat([turned, torch.ones_like(turned[..., :1])], dim=2), axes


def _minimise(
    inputs: Tensor, labels: Tensor, strengths: Tensor, num_classes: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Returns weights (B, R + 1, K) and which of the problems have converged (B,)."""
    num_problems, num_weights = len(strengths), inputs.shape[2]
    penalties = strengths.repeat(1, num_weights, 1)  # (B, R + 1, 1)
    penalties[:, -1] = 0.0
    curvature = inputs.square().mean(dim=1)[..., None] / 2 + penalties
    result = inputs.new_zeros(num_problems, num_weights, num_classes)
    open_problems = torch.arange(num_problems, device=inputs.device)
    weights = ahead = torch.zeros_like(result)
    pace = inputs.new_ones(num_problems, 1, 1)
    for _ in range(MOST_ITERATIONS):
        slope = _gradient(inputs, labels, ahead, open_problems) + penalties[open_problems] * ahead
        is_open = slope.abs().amax(dim=(1, 2)) > tolerance
        result[open_problems] = ahead
        if not is_open.all():
            # What is solved costs nothing from here on.
            open_problems, weights, ahead = open_problems[is_open], weights[is_open], ahead[is_open]
            pace, slope = pace[is_open], slope[is_open]
        if not len(open_problems):
            break
        stepped = ahead - slope / curvature[open_problems]
        moved = stepped - weights
        is_uphill = (slope * moved).sum(dim=(1, 2), keepdim=True) > 0
        pace = torch.where(is_uphill, 1.0, pace)
        next_pace = (1 + (1 + 4 * pace.square()).sqrt()) / 2
        weights, ahead, pace = stepped, stepped + (pace - 1) / next_pace * moved, next_pace
    has_converged = torch.ones(num_problems, dtype=torch.bool, device=inputs.device)
    has_converged[open_problems] = False
    return result, has_converged


def _gradient(inputs: Tensor, labels: Tensor, weights: Tensor, problems: Tensor) -> Tensor:
    """Returns the gradient (b, R + 1, K) of mean cross-entropy for some of the problems; pictures come in parts."""
    if len(inputs) > 1:
        inputs = inputs[problems]
    labels = (labels if len(labels) == 1 else labels[problems]).expand(len(problems), -1)
    pictures = inputs.shape[1]
    some = max(1, _LOGITS_AT_ONCE // (weights.shape[0] * weights.shape[2]))
    total = torch.zeros_like(weights)
    for part, truth in zip(inputs.split(some, dim=1), labels.split(some, dim=1), strict=True):
        errors = (part @ weights).softmax(dim=2)  # (b, n, K)
        errors.scatter_add_(2, truth[..., None], errors.new_full((1, 1, 1), -1.0).expand(*truth.shape, 1))
        total += part.mT @ errors
    return total / pictures
