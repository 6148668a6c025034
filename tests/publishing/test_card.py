"""The card as a whole: front matter first, the hub's language before the other one, the author's words last."""

import dataclasses

import yaml

from modelscope_beit.publishing.card import write_card
from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.source import Source


def test_write_card__begins_with_front_matter_and_the_hubs_language(card_facts: CardFacts) -> None:
    text = write_card(card_facts)
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "MIT License"
    assert text.index("## 中文") < text.index("## English") < text.index("@inproceedings{beit,")
    other = write_card(dataclasses.replace(card_facts, destination=Destination("huggingface", "me/pets")))
    assert other.index("## English") < other.index("## 中文")
    assert yaml.safe_load(other.split("---\n")[1])["license"] == "mit"


def test_write_card__is_the_same_every_time(card_facts: CardFacts) -> None:
    assert write_card(card_facts) == write_card(card_facts)


def test_write_card__keeps_the_authors_words_as_they_are(card_facts: CardFacts) -> None:
    words = "# Mine\n\n| a | b |\n\n```bash\n# a comment\n```"
    spoken = dataclasses.replace(card_facts, source=Source(card_facts.source.model, own_words=words), title="*Pets*")
    text = write_card(spoken)
    assert text.endswith(f"{words}\n") and "\n# \\*Pets\\*\n" in text
    assert "@article" in text.split(words)[0]
