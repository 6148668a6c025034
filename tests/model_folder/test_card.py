"""The model card: its front matter is YAML, its table is Markdown, whatever the names are."""

import re
from dataclasses import replace

import pytest

import helpers
from modelscope_beit.model_folder.card import Origin, architecture_in_words, some_names, steps_in_words, write_card
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.model import ModelSettings, model_settings
from modelscope_beit.settings.preprocessing import evaluation_steps

STEPS = evaluation_steps(224, mean=(127.5,) * 3, std=(127.5,) * 3, crop_pct=0.9)
SETTINGS = FolderSettings(ModelSettings(), STEPS)


def front_matter(card):
    yaml = pytest.importorskip("yaml", reason="PyYAML is the judge of the front matter")
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_write_card__front_matter_that_the_hub_reads():
    card = write_card("A title", SETTINGS, ("a", "b"), Origin("weights of unilm", "sha256:00", "Apache License 2.0"))
    assert front_matter(card) == {
        "frameworks": ["pytorch"],
        "license": "Apache License 2.0",
        "tasks": ["image-classification"],
    }
    assert "Nobody said under which license" not in card


def test_write_card__odd_texts_do_not_break_it():
    card = write_card("A title", SETTINGS, ("a | b", "c"), Origin("a\nb", "sha256:00", 'no: "such" license #'))
    assert front_matter(card)["license"] == 'no: "such" license #'
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)


def test_write_card__says_source_digest_and_unknown_license():
    card = write_card("A title", SETTINGS, helpers.TINY_CLASSES, Origin("my weights", "sha256:0123"))
    for part in ("# A title", "my weights", "sha256:0123", "Nobody said under which license", "red fox"):
        assert part in card


def test_architecture_in_words():
    words = architecture_in_words(model_settings("beitv2", "large", image_size=(384, 224)))
    assert words.startswith("24 blocks of width 1024, 16 heads, patches of 16 on 384x224 pixels, relative positions")
    assert architecture_in_words(model_settings("vit", "tiny")).endswith("absolute positions, class token")
    settings = replace(model_settings("vit", "tiny", distilled=True, pooling="two_tokens"), hidden_width=96)
    assert architecture_in_words(settings).endswith("class token and distillation token, hidden layer of width 96")


def test_steps_in_words__only_what_changes_the_picture():
    assert steps_in_words(STEPS) == [
        "Resize size (248, -1), interpolation bicubic, backend pillow",
        "CenterCrop crop_size 224",
        "Normalize mean (127.5, 127.5, 127.5), std (127.5, 127.5, 127.5)",
    ]


def test_some_names():
    assert some_names(("a", "b"), 2) == "a; b"
    assert some_names(("a", "b", "c"), 2) == "a; b; ..."
