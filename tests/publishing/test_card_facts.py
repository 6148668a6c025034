"""Facts that follow from others."""

import dataclasses

from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.source import Source


def test_class_counts__are_those_of_training(card_facts: CardFacts) -> None:
    assert card_facts.class_counts == {"china": 8, "flower": 7, "dark": 7}


def test_class_counts__are_empty_where_nobody_counted(card_facts: CardFacts) -> None:
    table = {"Data": [["", ""], ["Training", "a stream of pictures"], ["Class", "Validation"], ["cat", "3"]]}
    source = Source(card_facts.source.model, tables=table)
    assert dataclasses.replace(card_facts, source=source).class_counts == {}
    thousands = {"Data": [["Class", "Training", "Validation"], ["cat", "1,203", "3"]]}
    source = Source(card_facts.source.model, tables=thousands)
    assert dataclasses.replace(card_facts, source=source).class_counts == {"cat": 1203}


def test_shortened__knows_the_places_of_the_run(card_facts: CardFacts) -> None:
    place = card_facts.known_paths[1]
    assert " " in place and card_facts.shortened(f"the folder {place} (validation part)") == (
        "the folder my pets (validation part)"
    )
