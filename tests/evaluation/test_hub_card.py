"""The card's numbers appear beside the large model on ImageNet, and nowhere else."""

import pytest

from modelscope_beit.evaluation.hub_card import hub_card_in_words, hub_card_numbers
from modelscope_beit.model_folder.label_files import imagenet_1k_labels

LARGE = {"num_parameters": 304_430_568, "class_names": imagenet_1k_labels(), "pictures": 50_000}


def test_hub_card_numbers__are_those_of_the_card() -> None:
    assert hub_card_numbers(**LARGE) == {"accuracy_top-1": 88.356, "accuracy_top-5": 98.578}
    assert hub_card_numbers(**LARGE | {"class_names": list(imagenet_1k_labels())}) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"num_parameters": 86_530_984},
        {"pictures": 10_000},
        {"class_names": imagenet_1k_labels()[::-1]},
        {"class_names": ("cat", "dog")},
    ],
)
def test_hub_card_numbers__of_anything_else_are_none(change: dict) -> None:
    assert hub_card_numbers(**LARGE | change) is None


def test_hub_card_in_words__says_whose_numbers_they_are() -> None:
    words = hub_card_in_words({"accuracy_top-1": 88.356, "accuracy_top-5": 98.578})
    assert words.startswith("accuracy_top-1 88.356%, accuracy_top-5 98.578% (") and "not measured here" in words
