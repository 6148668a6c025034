"""Oracle: transformers' post-processing, and torch's softmax over all classes at once."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modelscope_beit.errors import CheckpointError
from modelscope_beit.prediction import segmenting
from modelscope_beit.prediction.segmenting import ClassMap, class_map, segmentation_logits, segments


def logits(num_classes: int = 7, rows: int = 8, columns: int = 6) -> torch.Tensor:
    return 3 * torch.randn(num_classes, rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("numbers_at_once", [1 << 26, 3 * 40 * 50, 1])
@pytest.mark.parametrize("size", [(40, 50), (8, 6), (5, 3), (1, 1)], ids=str)
def test_class_map__is_that_of_transformers(
    size: tuple[int, int], numbers_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    monkeypatch.setattr(segmenting, "_NUMBERS_AT_ONCE", numbers_at_once)
    found = class_map(logits(), size)
    outputs = SimpleNamespace(logits=logits()[None])
    (expected,) = transformers.BeitImageProcessorPil().post_process_semantic_segmentation(outputs, target_sizes=[size])
    assert np.array_equal(found.classes, expected.numpy()) and found.classes.dtype == np.int32
    enlarged = F.interpolate(logits()[None], size=size, mode="bilinear")[0]
    np.testing.assert_allclose(found.probabilities, enlarged.softmax(0).amax(0).numpy(), rtol=1e-5)


def test_class_map__of_equal_logits_is_the_first_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenting, "_NUMBERS_AT_ONCE", 2 * 4)
    found = class_map(torch.zeros(5, 2, 2), (2, 2))
    assert not found.classes.any() and np.allclose(found.probabilities, 0.2)


def test_class_map__does_not_overflow() -> None:
    found = class_map(torch.tensor([[[1e4]], [[-1e4]], [[1e4]]]), (2, 2))
    assert np.allclose(found.probabilities, 0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_class_map__does_not_answer_out_of_broken_numbers(value: float) -> None:
    broken = logits()
    broken[3, 2, 2] = value
    with pytest.raises(CheckpointError, match="not finite"):
        class_map(broken, (4, 4))


def test_segments__cover_the_picture_once_the_largest_first() -> None:
    classes = np.array([[4, 4, 4], [9, 0, 4], [9, 0, 4]], np.int32)
    probabilities = np.array([[0.5, 0.5, 0.5], [0.2, 0.9, 1.0], [0.4, 0.7, 1.0]], np.float32)
    found = segments(ClassMap(classes, probabilities))
    assert [segment.class_number for segment in found] == [4, 0, 9]
    assert [segment.score for segment in found] == pytest.approx([0.7, 0.8, 0.3])
    assert found[0].mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 1]] and found[0].mask.dtype == np.uint8
    assert (sum(segment.mask for segment in found) == 1).all()


def test_segmentation_logits__runs_in_the_networks_precision_and_answers_in_float32() -> None:
    network = torch.nn.Conv2d(3, 2, 1).to(torch.bfloat16)
    images = torch.rand(1, 3, 4, 4)
    expected = network(images.bfloat16()).float()
    assert torch.equal(segmentation_logits(network, images), expected)
