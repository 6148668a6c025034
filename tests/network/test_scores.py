"""Scores and familiarities against SciPy, in float64."""

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp, softmax

from modelscope_beit.network.scores import class_scores, familiarity

LOGITS = np.random.default_rng(0).normal(size=(50, 7)) * 6


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_class_scores__equals_scipy(temperature: float) -> None:
    logits = torch.from_numpy(LOGITS)
    found = class_scores(logits, is_multi_label=False, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), softmax(LOGITS / temperature, axis=1), rtol=1e-12)
    found = class_scores(logits, is_multi_label=True, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), expit(LOGITS / temperature), rtol=1e-12)


def test_class_scores__temperature_1_changes_no_bit() -> None:
    logits = torch.from_numpy(LOGITS).float()
    assert torch.equal(class_scores(logits, is_multi_label=False), logits.softmax(1))


def test_familiarity__equals_scipy() -> None:
    logits = torch.from_numpy(LOGITS)
    np.testing.assert_allclose(familiarity(logits, is_multi_label=False).numpy(), logsumexp(LOGITS, axis=1), rtol=1e-12)
    of_sigmoids = np.log1p(np.exp(LOGITS)).sum(axis=1)
    np.testing.assert_allclose(familiarity(logits, is_multi_label=True).numpy(), of_sigmoids, rtol=1e-7)


def test_familiarity__survives_large_logits() -> None:
    logits = torch.tensor([[1000.0, 999.0], [-1000.0, -1001.0]], dtype=torch.float64)
    expected = np.log(1 + np.exp(-1.0)) + np.array([1000.0, -1000.0])
    np.testing.assert_allclose(familiarity(logits, is_multi_label=False).numpy(), expected, rtol=1e-14)
    np.testing.assert_allclose(familiarity(logits, is_multi_label=True).numpy(), [1999.0, 0.0])
