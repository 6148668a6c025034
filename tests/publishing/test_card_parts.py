"""The sections of a card of a run, in both languages."""

import dataclasses

import pytest

from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.card_parts import in_language
from modelscope_beit.publishing.card_words import WORDS, Language
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.source import Source

LANGUAGES: tuple[Language, ...] = ("en", "zh")


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_language__tells_everything_of_a_run(card_facts: CardFacts, language: Language) -> None:
    text = in_language(card_facts, language)
    words = WORDS[language]
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert headings == [f"### {words[name]}" for name in ("what", "use", "result", "recipe", "data", "limits")]
    assert card_facts.measured is not None
    accuracy = card_facts.measured.metrics["accuracy_top-1"]
    low, high = card_facts.measured.intervals["accuracy_top-1"]
    assert f"| accuracy\\_top-1 | {accuracy:.2f} % | {low:.2f} – {high:.2f} % |" in text
    assert "(resources/curves.png)" in text and "(resources/confusion.png)" in text
    assert "```python\nprint(1)\n```" in text and "```\n0.5000  china\n```" in text
    assert "AdamW lr 0.001" in text and "| china | 8 | 3 |" in text and "12,345" in text
    assert card_facts.digest in text and "resources/pictures/boot.png" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_language__holds_no_place_of_this_machine(card_facts: CardFacts, language: Language) -> None:
    text = in_language(card_facts, language)
    assert not any(place in text for place in card_facts.known_paths)
    assert "beit train tiny 'my pets'" in text and "| my pets |" in text


def test_in_language__translates_rows(card_facts: CardFacts) -> None:
    text = in_language(card_facts, "zh")
    assert "| 训练集 | 22 张图片 |" in text and "| 优化器 |" in text and "| 类别 | 训练集 | 验证集 |" in text


def test_in_language__says_what_is_not_known(card_facts: CardFacts) -> None:
    bare = dataclasses.replace(card_facts, source=Source(card_facts.source.model), measured=None, pictures=())
    text = in_language(bare, "en")
    for name in ("result_none", "recipe_none", "data_none"):
        assert f"\n\n{WORDS['en'][name]}\n" in text
    assert "resources/curves.png" not in text and "Fine-tuned from" not in text
    spoken = dataclasses.replace(bare, source=Source(card_facts.source.model, own_words="Mine."))
    assert f"{WORDS['en']['recipe_none']} {WORDS['en']['see_own_words']}" in in_language(spoken, "en")


def test_in_language__of_each_kind_of_use(card_facts: CardFacts) -> None:
    alone = in_language(dataclasses.replace(card_facts, self_contained=True), "en")
    assert "`trust_remote_code=True` lets ModelScope import" in alone
    other = dataclasses.replace(card_facts, destination=Destination("huggingface", "me/pets"))
    assert "pip install transformers" in in_language(other, "en")
    broken = dataclasses.replace(card_facts.usage, output="", error="File x\nOSError: /tmp/x/pets is empty")
    text = in_language(dataclasses.replace(card_facts, usage=broken), "en")
    assert "running it failed" in text and "OSError: pets is empty" in text
