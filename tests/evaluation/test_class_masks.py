import json
from importlib import resources

import numpy as np
import pytest
import torch
from torch import nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.class_masks import class_columns, read_real_labels, real_accuracy, select_classes
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.model_folder.label_files import (
    imagenet_1k_labels,
    imagenet_1k_wordnet_ids,
    imagenet_22k_wordnet_ids,
)

IMAGENET = imagenet_1k_labels()


def timms(name: str) -> list[str]:
    """Returns the lines of one of timm's lists."""
    pytest.importorskip("timm", reason="the oracle comes with the extra timm")
    return (resources.files("timm.data") / "_info" / name).read_text().split()


def outcomes_of(predictions: list[int], num_classes: int = 1000) -> Outcomes:
    count = len(predictions)
    return Outcomes(
        indices=np.arange(count),
        labels=np.zeros(count, np.int64),
        top_classes=np.array(predictions, np.int32)[:, None],
        top_scores=np.ones((count, 1), np.float32),
        label_scores=np.ones(count, np.float32),
        label_ranks=np.zeros(count, np.int32),
        class_names=tuple(map(str, range(num_classes))),
    )


@pytest.mark.parametrize("subset", ["imagenet_a", "imagenet_r"])
def test_class_columns__imagenet_a_and_r_are_timms(subset):
    folders = sorted(timms(f"{subset}_synsets.txt"))
    columns = class_columns(folders, IMAGENET)
    assert len(columns) == 200
    assert list(columns) == [int(number) for number in timms(f"{subset}_indices.txt")]


def test_class_columns__imagenet_folders_in_any_order():
    ids = imagenet_1k_wordnet_ids()
    assert class_columns(ids, IMAGENET) == tuple(range(1000))
    assert class_columns(ids[::-1], IMAGENET) == tuple(range(999, -1, -1))
    assert class_columns(ids, [f"名 {number}" for number in range(1000)]) == tuple(range(1000))


def test_class_columns__imagenet_v2_is_sorted_by_text_not_by_number():
    folders = sorted(str(number) for number in range(1000))
    assert folders[:3] == ["0", "1", "10"]
    columns = class_columns(folders, IMAGENET)
    assert columns[:3] == (0, 1, 10) and sorted(columns) == list(range(1000))


def test_class_columns__names_come_first():
    """A network of the ten digits, whose names are numbers, and data in another order."""
    names = ["3", "1", "0", "2"]
    assert class_columns(["0", "1", "2", "3"], names) == (2, 1, 3, 0)
    assert class_columns(["red", "blue"], ["blue", "green", "red"]) == (2, 0)


def test_class_columns__wordnet_ids_of_22k_are_names():
    ids = imagenet_22k_wordnet_ids()
    assert class_columns([ids[20000], ids[7]], ids) == (20000, 7)


def test_class_columns__both_cranes_keep_their_place():
    assert class_columns(IMAGENET, IMAGENET) == tuple(range(1000))


@pytest.mark.parametrize(
    ("data_names", "model_names", "culprit"),
    [
        (["cat", "dgo"], ["cat", "dog"], "1 of the 2 classes of the data are no class name of the network: dgo"),
        # Numbers say nothing about a network that is not ImageNet's.
        (["0", "1"], ["cat", "dog"], "2 of the 2 classes of the data are no class name of the network: 0, 1"),
        (["n01440764", "n99999999"], IMAGENET, "WordNet id or number.*n99999999"),
        (["n01440764", "5"], IMAGENET, "1 of the 2"),
        (["1000"], IMAGENET, "1000"),
        (["cat", "cat"], ["cat", "dog"], "same name: cat"),
    ],
)
def test_class_columns__says_what_matches_nothing(data_names, model_names, culprit):
    with pytest.raises(SettingsError, match=culprit):
        class_columns(data_names, model_names)


def test_select_classes__softmax_is_over_these_alone():
    logits = torch.randn(4, 6)
    selected = select_classes(nn.Identity(), (5, 0, 2))(logits)
    everything = logits.softmax(dim=1)[:, [5, 0, 2]]
    torch.testing.assert_close(selected.softmax(dim=1), everything / everything.sum(dim=1, keepdim=True))


def test_select_classes__weights_keep_their_names_in_the_network(tiny_classifier):
    selected = select_classes(tiny_classifier, (1, 3))
    assert len(selected.state_dict()) == len(tiny_classifier.state_dict())
    assert selected(torch.zeros(2, 3, 32, 32)).shape == (2, 2)


def test_read_real_labels__and_accuracy(tmp_path):
    file = tmp_path / "real.json"
    file.write_text(json.dumps([[3, 7], [], [2], [999], [0]]))
    answers = read_real_labels(file)
    assert answers == ({3, 7}, frozenset(), {2}, {999}, {0})
    names = [f"val/n01440764/ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3, 4, 5)]
    # Right, not asked, right, wrong, wrong.
    assert real_accuracy(outcomes_of([7, 3, 2, 998, 1]), names, answers) == {
        "accuracy_real_top-1": 50.0,
        "real_support": 4.0,
    }


def test_real_accuracy__follows_the_names_not_the_order():
    names = ["ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000001_n01440764.JPEG"]
    results = real_accuracy(outcomes_of([2, 5]), names, [{5}, {5}, {2}])
    assert results["accuracy_real_top-1"] == 100.0


def test_real_accuracy__classes_in_the_order_of_the_data():
    names = ["ILSVRC2012_val_00000001.JPEG"]
    results = real_accuracy(outcomes_of([1], num_classes=3), names, [{700}], columns=(5, 700, 9))
    assert results["accuracy_real_top-1"] == 100.0


def test_real_accuracy__is_timms():
    timm_data = pytest.importorskip("timm.data.real_labels", reason="the oracle comes with the extra timm")
    real_json = resources.files("timm.data") / "_info" / "imagenet_real_labels.json"
    answers = read_real_labels(str(real_json))
    assert len(answers) == 50_000
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)]
    rng = np.random.default_rng(0)
    # Right as often as not.
    guesses = [min(right, default=0) if rng.random() < 0.5 else int(rng.integers(1000)) for right in answers]
    theirs = timm_data.RealLabelsImagenet(names, topk=(1,))
    for part in torch.tensor(guesses).split(5000):
        theirs.add_result(nn.functional.one_hot(part, 1000).float())
    ours = real_accuracy(outcomes_of(guesses), names, answers)
    assert ours["accuracy_real_top-1"] == pytest.approx(theirs.get_accuracy(1))
    assert ours["real_support"] == len(theirs.is_correct[1])


@pytest.mark.parametrize("name", ["cat.jpg", "ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_00000002.JPEG"])
def test_real_accuracy__file_without_an_answer(name):
    with pytest.raises(SettingsError, match=rf"to ILSVRC2012_val_00000001.JPEG, but a picture of the data is {name}"):
        real_accuracy(outcomes_of([0]), [name], [{0}])


def test_real_accuracy__nothing_to_count():
    with pytest.raises(SettingsError, match="None of the pictures"):
        real_accuracy(outcomes_of([0]), ["ILSVRC2012_val_00000001.JPEG"], [frozenset()])


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        ("{", "JSON list of lists"),
        ('{"a": 1}', "not dict"),
        ("[[1], 2]", "number 2 is 2"),
        ("[[1000]]", r"number 1 is \[1000\]"),
        ("[[true]]", "number 1 is"),
    ],
)
def test_read_real_labels__says_what_is_wrong(tmp_path, content, culprit):
    file = tmp_path / "real.json"
    file.write_text(content)
    with pytest.raises(SettingsError, match=culprit):
        read_real_labels(file)


def test_read_real_labels__missing_file(tmp_path):
    with pytest.raises(SettingsError, match="nowhere.json"):
        read_real_labels(tmp_path / "nowhere.json")
