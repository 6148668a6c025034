"""Limits follow from what is known, and from nothing else."""

import dataclasses

import pytest

from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.card_words import WORDS
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.limits import limits
from modelscope_beit.publishing.measured import ClassResult
from modelscope_beit.publishing.source import Source
from modelscope_beit.settings.confidence import Confidence


def told(facts: CardFacts, language: str = "en") -> str:
    return "\n".join(limits(facts, WORDS[language]))


def with_counts(facts: CardFacts, **counts: int) -> CardFacts:
    rows = [["Class", "Training"], *([name, f"{count:,}"] for name, count in counts.items())]
    return dataclasses.replace(facts, source=Source(facts.source.model, tables={"Data": rows}))


def test_limits__of_a_run(card_facts: CardFacts) -> None:
    text = told(card_facts)
    assert "one of the 3 classes" in text and "9 pictures are few" in text
    assert "The same pictures chose the epoch" in text and "not calibrated" in text
    assert "7 to 8 pictures each" in text
    # Every class has fewer than 20.
    assert "fewer than 20 pictures in training: flower, dark, china (3)" in text
    assert "license" not in text


def test_limits__of_counts(card_facts: CardFacts) -> None:
    text = told(with_counts(card_facts, cat=1200, dog=1100, fox=30))
    assert "cat had 1,200 pictures, fox 30" in text and "fewer than" not in text
    text = told(with_counts(card_facts, **{f"c{number}": number + 1 for number in range(9)}))
    assert "c0, c1, c2, c3, c4, ... (9)" in text
    assert "training" not in told(with_counts(card_facts)) and "in training" not in told(with_counts(card_facts, a=1))


def test_limits__of_equal_counts(card_facts: CardFacts) -> None:
    assert "the same number of pictures in training, 40." in told(with_counts(card_facts, cat=40, dog=40))


def test_limits__of_an_evaluation(card_facts: CardFacts) -> None:
    assert card_facts.measured is not None
    measured = dataclasses.replace(
        card_facts.measured,
        pictures=5000,
        unreadable=2,
        chose_epoch=False,
        weakest=(ClassResult("red *fox*", 1500, 0.5),),
        pairs=(("dog", "cat", 1234),),
    )
    text = told(dataclasses.replace(card_facts, measured=measured))
    assert r"red \*fox\* (50% of 1,500)" in text and "dog for cat (1,234 times)" in text
    assert "2 further pictures" in text
    assert "few" not in text.replace("fewer", "") and "chose the epoch" not in text
    assert "Result" in told(dataclasses.replace(card_facts, measured=None))


@pytest.mark.parametrize(("hub", "sentence"), [("modelscope", "are called unknown"), ("huggingface", "by 2.5 makes")])
def test_limits__of_a_calibrated_folder(card_facts: CardFacts, hub, sentence: str) -> None:
    confidence = Confidence(2.5, 0.31, 0.05, 200, "the folder /tmp/x/pets", card_facts.model.source_digest)
    settings = dataclasses.replace(card_facts.model.settings, confidence=confidence)
    facts = dataclasses.replace(card_facts, model=dataclasses.replace(card_facts.model, settings=settings))
    facts = dataclasses.replace(facts, destination=Destination(hub, "me/pets"))
    assert sentence in told(facts) and "/tmp" not in told(facts) and "not calibrated" not in told(facts)
    other = dataclasses.replace(facts, model=dataclasses.replace(facts.model, source_digest="sha256:other"))
    assert "not calibrated" in told(other)


def test_limits__of_formats_licenses_and_labels(card_facts: CardFacts) -> None:
    model = dataclasses.replace(card_facts.model, differences=("resized by torchvision, not by Pillow",))
    matter = dataclasses.replace(card_facts.front_matter, license="other")
    text = told(dataclasses.replace(card_facts, model=model, front_matter=matter, is_multi_label=True))
    assert "resized by torchvision" in text and "Nobody said under which license" in text and "one of the" not in text


def test_limits__are_as_many_in_chinese(card_facts: CardFacts) -> None:
    assert len(limits(card_facts, WORDS["zh"])) == len(limits(card_facts, WORDS["en"]))
