import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import rankdata
from torch import nn

import helpers
from modelscope_beit.data.batches import Batch
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.evaluation.measuring import measure
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.network.inference_form import inference_form
from modelscope_beit.prediction.classifying import class_probabilities

SCRIPT = Path(__file__).with_name("measure_in_a_process.py")


def batch_of(images: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor) -> Batch:
    return Batch(
        images=images, labels=labels, indices=indices, weights=torch.ones(len(images)), global_size=len(images)
    )


def batches_of(images: torch.Tensor, labels: torch.Tensor, size: int = 4) -> list[Batch]:
    places = torch.arange(len(images)).split(size)
    return [batch_of(images[place], labels[place], place) for place in places]


def measured(logits: torch.Tensor, labels: torch.Tensor, **keywords) -> Outcomes:
    """Measures a network that has the logits (N, K) as its pictures."""
    return measure(nn.Identity(), batches_of(logits, labels), class_names=(), **keywords)


def assert_same(one: Outcomes, other: Outcomes) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(getattr(other, name), value, err_msg=name)


@pytest.fixture
def pictures():
    return torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels():
    return torch.arange(10) % 5


def test_measure__scores_are_those_that_the_pipeline_shows(tiny_classifier, pictures, labels):
    outcomes = measure(tiny_classifier, batches_of(pictures, labels), class_names=helpers.TINY_CLASSES)
    probabilities = np.concatenate([class_probabilities(tiny_classifier, part) for part in pictures.split(4)])
    order = np.argsort(-probabilities, axis=1, kind="stable")
    np.testing.assert_array_equal(outcomes.top_classes, order)
    np.testing.assert_array_equal(outcomes.top_scores, np.take_along_axis(probabilities, order, axis=1))
    np.testing.assert_array_equal(outcomes.label_scores, probabilities[np.arange(10), labels])
    np.testing.assert_array_equal(outcomes.indices, np.arange(10))
    np.testing.assert_array_equal(outcomes.labels, labels)
    assert outcomes.class_names == helpers.TINY_CLASSES and not outcomes.is_multi_label


def test_measure__types_are_compact():
    outcomes = measured(torch.randn(3, 40), torch.zeros(3, dtype=torch.int64))
    assert outcomes.top_classes.shape == outcomes.top_scores.shape == (3, 5)
    types = {name: value.dtype.name for name, value in vars(outcomes).items() if isinstance(value, np.ndarray)}
    assert types == {
        "indices": "int64",
        "labels": "int64",
        "top_classes": "int32",
        "top_scores": "float32",
        "label_scores": "float32",
        "label_ranks": "int32",
    }


def test_measure__fast_form_answers_the_same(tiny_classifier, pictures, labels):
    plain = measure(tiny_classifier, batches_of(pictures, labels), class_names=())
    fast = measure(inference_form(tiny_classifier), batches_of(pictures, labels), class_names=())
    np.testing.assert_array_equal(fast.top_classes, plain.top_classes)
    np.testing.assert_allclose(fast.top_scores, plain.top_scores, atol=1e-5)


def test_measure__order_of_batches_makes_no_difference():
    logits, labels = torch.randn(9, 6), torch.arange(9) % 6
    batches = batches_of(logits, labels, size=2)
    assert_same(measure(nn.Identity(), batches[::-1], class_names=()), measure(nn.Identity(), batches, class_names=()))


def test_measure__ranks_are_scipys():
    logits, labels = torch.randn(50, 12), torch.arange(50) % 12
    outcomes = measured(logits, labels)
    scores = softmax(logits.double().numpy(), axis=1)
    np.testing.assert_allclose(outcomes.label_scores, scores[np.arange(50), labels], rtol=1e-6)
    expected = rankdata(-scores, axis=1, method="ordinal")[np.arange(50), labels] - 1
    np.testing.assert_array_equal(outcomes.label_ranks, expected)


def test_measure__equal_scores_are_ordered_by_class_number():
    logits = torch.tensor([[1.0, 3.0, 1.0, 3.0, 1.0, 1.0, 3.0]]).repeat(7, 1)
    outcomes = measured(logits, torch.arange(7))
    assert outcomes.top_classes.tolist() == [[1, 3, 6, 0, 2]] * 7
    assert outcomes.label_ranks.tolist() == [3, 0, 4, 1, 5, 6, 2]


def test_measure__a_rank_agrees_with_the_top_classes_when_nearly_all_scores_are_equal():
    logits = torch.randint(0, 3, (200, 9), generator=torch.Generator().manual_seed(0)).float()
    labels = torch.arange(200) % 9
    outcomes = measured(logits, labels)
    for k in range(1, 6):
        is_among = (outcomes.top_classes[:, :k] == labels.numpy()[:, None]).any(axis=1)
        np.testing.assert_array_equal(is_among, outcomes.label_ranks < k)


@pytest.mark.parametrize("num_classes", [1, 2, 4])
def test_measure__few_classes(num_classes):
    outcomes = measured(torch.randn(3, num_classes), torch.zeros(3, dtype=torch.int64))
    assert outcomes.top_classes.shape == (3, num_classes)
    np.testing.assert_allclose(outcomes.top_scores.sum(axis=1), 1, rtol=1e-6)
    assert outcomes.class_names == tuple(str(number) for number in range(num_classes))


def test_measure__several_labels():
    logits = torch.tensor([[0.0, 2.0, -1.0], [0.0, 2.0, -1.0], [0.0, 2.0, -1.0]])
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]])
    outcomes = measured(logits, labels)
    scores = expit(logits.double().numpy())
    assert outcomes.is_multi_label and outcomes.scores is not None
    np.testing.assert_allclose(outcomes.scores, scores, rtol=1e-6)
    np.testing.assert_array_equal(outcomes.labels, labels.numpy())
    assert outcomes.labels.dtype == np.int8
    # The best placed class that is present; none in the second picture; a doubtful one is not present.
    assert outcomes.label_ranks.tolist() == [1, 3, 0]
    np.testing.assert_allclose(outcomes.label_scores, [0.5, 0.0, scores[2, 1]], rtol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_measure__narrow_precision(precision, tiny_classifier, pictures, labels):
    seen = []
    tiny_classifier.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    narrow = measure(tiny_classifier, batches_of(pictures, labels), class_names=(), precision=precision)
    wide = measure(tiny_classifier, batches_of(pictures, labels), class_names=())
    assert seen[0] == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision] and seen[-1] == torch.float32
    np.testing.assert_allclose(narrow.label_scores, wide.label_scores, atol=2e-2)
    assert not np.array_equal(narrow.label_scores, wide.label_scores)


def test_measure__evaluates_and_leaves_every_part_in_its_mode(tiny_classifier, pictures, labels):
    network = nn.Sequential(nn.Dropout(0.9), tiny_classifier)
    network.train()
    tiny_classifier.backbone.blocks[0].eval()  # as freezing does
    before = [module.training for module in network.modules()]
    outcomes = measure(network, batches_of(pictures, labels), class_names=())
    assert [module.training for module in network.modules()] == before
    assert_same(outcomes, measure(tiny_classifier.eval(), batches_of(pictures, labels), class_names=()))


def test_measure__an_error_leaves_every_part_in_its_mode(tiny_classifier):
    tiny_classifier.train()
    with pytest.raises(SettingsError):
        measure(tiny_classifier, batches_of(torch.zeros(1, 3, 32, 32), torch.tensor([5])), class_names=())
    assert all(module.training for module in tiny_classifier.modules())


def test_measure__training_goes_on_afterwards(tiny_classifier, pictures, labels):
    measure(tiny_classifier, batches_of(pictures, labels), class_names=())
    assert all(weight.grad is None for weight in tiny_classifier.parameters())
    tiny_classifier(pictures).sum().backward()


def test_measure__tells_of_every_batch():
    counts = []
    measured(torch.randn(10, 3), torch.zeros(10, dtype=torch.int64), on_batch=counts.append)
    assert counts == [4, 4, 2]


def test_measure__scores_that_are_no_numbers():
    logits = torch.randn(9, 3)
    logits[4, 1], logits[7, 0], logits[8] = float("nan"), float("-inf"), float("inf")
    with pytest.raises(CheckpointError, match="for 3 of 9 pictures, first for picture 4 of the data"):
        measured(logits, torch.zeros(9, dtype=torch.int64))


@pytest.mark.parametrize("label", [-1, 3])
def test_measure__label_that_is_no_class(label):
    with pytest.raises(SettingsError, match=rf"from 0 to 2.*picture 5 of the data has the label {label}"):
        measured(torch.randn(9, 3), torch.tensor([0, 1, 2, 0, 1, label, 0, 0, 0]))


def test_measure__labels_for_other_classes():
    with pytest.raises(SettingsError, match="labels for 4 classes, but the network has 3"):
        measured(torch.randn(2, 3), torch.zeros(2, 4))


def test_measure__other_number_of_names():
    with pytest.raises(SettingsError, match="2 class names were given for a network of 3 classes"):
        measure(nn.Identity(), batches_of(torch.randn(2, 3), torch.tensor([0, 1])), class_names=("a", "b"))


def test_measure__no_pictures():
    with pytest.raises(SettingsError, match="nothing to evaluate"):
        measure(nn.Identity(), [], class_names=())


def test_measure__two_processes_know_what_one_would(tmp_path):
    meeting = tmp_path / "meeting"
    files = [tmp_path / "0.pickle", tmp_path / "1.pickle"]
    processes = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), "2", str(meeting), str(file)])
        for rank, file in enumerate(files)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    results = [pickle.loads(file.read_bytes()) for file in files]
    script = load_script()
    for scenario, count in script.SCENARIOS.items():
        batches = batches_of(script.logits_of(scenario), script.labels_of(scenario))
        alone = measure(nn.Identity(), batches, class_names=script.CLASS_NAMES)
        assert len(alone) == count
        for result in results:
            assert_same(result[scenario], alone)
    for result in results:
        assert "for 2 of 6 pictures, first for picture 3 of the data" in result["damaged"]


def load_script():
    """Returns the script as a module."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("measure_in_a_process", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
