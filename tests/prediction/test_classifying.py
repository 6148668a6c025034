"""Probabilities against mmcls's own softmax, the best classes against NumPy's and torch's order."""

import numpy as np
import pytest
import scipy.special
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.prediction.classifying import class_probabilities, classify, top_classes
from modelscope_beit.settings.confidence import Confidence


class Logits(torch.nn.Module):
    """A network whose logits are its input, flattened: what is under test is what happens to them."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_class_probabilities__equals_the_stock_softmax() -> None:
    logits = torch.randn(64, 1000) * 8
    probabilities = class_probabilities(Logits(), logits)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, torch.softmax(logits, dim=1).numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1, dtype=np.float64), 1.0, atol=1e-6)


def test_class_probabilities__survives_large_logits() -> None:
    probabilities = class_probabilities(Logits(), torch.tensor([[1000.0, 999.0, -1000.0]]))
    e = np.exp(1.0)
    np.testing.assert_allclose(probabilities, [[e / (1 + e), 1 / (1 + e), 0.0]], rtol=1e-6)


def test_class_probabilities__moves_the_batch_to_the_precision_of_the_network() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).to(torch.bfloat16)
    assert class_probabilities(network, torch.rand(2, 3, 2, 2)).shape == (2, 3)


def test_class_probabilities__keeps_no_graph() -> None:
    network = torch.nn.Linear(4, 3)
    class_probabilities(network, torch.rand(2, 4, requires_grad=True))
    assert network.weight.grad is None


def test_top_classes__equals_torch_topk() -> None:
    probabilities = torch.rand(7, 50, dtype=torch.float32).softmax(1).numpy()
    names = [f"class {number}" for number in range(50)]
    expected = torch.from_numpy(probabilities).topk(4, dim=1)
    for best, scores, columns in zip(
        top_classes(probabilities, names, 4), expected.values.numpy(), expected.indices.tolist(), strict=True
    ):
        assert best.labels == tuple(names[column] for column in columns)
        np.testing.assert_array_equal(best.scores, scores)


def test_top_classes__keeps_the_order_of_names_among_equals() -> None:
    probabilities = np.array([[0.2, 0.3, 0.2, 0.3]], dtype=np.float32)
    assert top_classes(probabilities, "abcd", 4)[0].labels == ("b", "d", "a", "c")


def test_top_classes__clips_k_to_the_number_of_classes() -> None:
    (best,) = top_classes(np.array([[0.4, 0.6]], dtype=np.float32), ["cat", "dog"], 5)
    assert best.labels == ("dog", "cat")
    assert len(best.scores) == 2


def test_top_classes__of_no_pictures_is_empty() -> None:
    assert top_classes(np.zeros((0, 2), dtype=np.float32), ["cat", "dog"], 5) == []


@pytest.mark.parametrize("k", [0, -1])
def test_top_classes__refuses_no_class_at_all(k: int) -> None:
    with pytest.raises(SettingsError, match=f"at least 1, not {k}"):
        top_classes(np.ones((1, 2), dtype=np.float32), ["cat", "dog"], k)


def test_top_classes__refuses_names_for_another_head() -> None:
    with pytest.raises(SettingsError, match="3 class names for a network of 2 classes"):
        top_classes(np.ones((1, 2), dtype=np.float32), ["cat", "dog", "cow"], 1)


def test_class_probabilities__of_several_classes_a_picture_are_sigmoids():
    class Several(torch.nn.Module):
        is_multi_label = True

        def forward(self, images):
            return images.flatten(1)[:, :3] * 100

    images = torch.tensor([-1.0, 0.0, 1.0]).expand(2, 3).reshape(2, 3, 1, 1)
    expected = [[0.0, 0.5, 1.0]] * 2
    assert class_probabilities(Several(), images) == pytest.approx(np.array(expected, np.float32), abs=1e-7)


def test_classify__divides_by_the_temperature_and_tells_the_unknown() -> None:
    logits = torch.randn(64, 10, dtype=torch.float64) * 3
    energies = scipy.special.logsumexp(logits.numpy(), axis=1)
    threshold = float(np.median(energies))
    confidence = Confidence(2.5, threshold, 0.05, 100, "photos", "sha256:0")
    found = classify(Logits(), logits, confidence)
    np.testing.assert_allclose(found.probabilities, scipy.special.softmax(logits.numpy() / 2.5, axis=1), atol=1e-7)
    assert list(found.are_unknown) == (energies < threshold).tolist()
    # The best class is what it was.
    plain = class_probabilities(Logits(), logits)
    np.testing.assert_array_equal(found.probabilities.argmax(1), plain.argmax(1))


def test_classify__without_a_calibration_says_nothing_of_the_unknown() -> None:
    found = classify(Logits(), torch.randn(3, 4), None)
    assert list(found.are_unknown) == [None] * 3


def test_classify__of_several_classes_a_picture() -> None:
    network = Logits()
    network.is_multi_label = True
    logits = torch.tensor([[-9.0, -8.0], [3.0, 2.0]])
    found = classify(network, logits, Confidence(2.0, 1.0, 0.05, 100, "photos", "sha256:0"))
    np.testing.assert_allclose(found.probabilities, scipy.special.expit(logits.numpy() / 2), rtol=1e-6)
    assert list(found.are_unknown) == [True, False]
