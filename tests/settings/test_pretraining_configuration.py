"""Configurations of both stages: published where they are silent, refused by name where they are wrong."""

from typing import Any

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.pretraining_configuration import MASKED, TOKENIZER, read_pretraining, with_target_width

TOKENIZER_CONTENT: dict[str, Any] = {"stage": "tokenizer", "data": "photos"}
MASKED_CONTENT: dict[str, Any] = {"stage": "masked", "data": "photos", "sources": {"tokenizer": "runs/tokenizer"}}


def test_read_pretraining__of_a_tokenizer_is_published_where_it_is_silent() -> None:
    """unilm/beit2 TOKENIZER.md: 64 pictures on each of 8 GPUs, lr 5e-5 for every 128 of them."""
    found = read_pretraining(TOKENIZER_CONTENT, "f", num_processes=8)
    assert found.stage == TOKENIZER and found.masked is None and found.tokenizer is not None
    assert (found.run.epochs, found.run.warm_up_epochs, found.run.batch_size) == (100, 10, 64)
    assert found.run.lr == pytest.approx(2e-4)
    assert (found.run.min_lr, found.run.weight_decay, found.run.betas, found.run.clip) == (
        1e-5,
        1e-4,
        (0.9, 0.99),
        None,
    )
    assert (found.tokenizer.codebook.num_codes, found.tokenizer.codebook.code_width) == (8192, 32)
    assert found.teaching is not None and found.teaching.teacher == "transformers:openai/clip-vit-base-patch16"


def test_read_pretraining__of_masked_image_modelling_is_published_where_it_is_silent() -> None:
    found = read_pretraining(MASKED_CONTENT, "f")
    assert found.stage == MASKED and found.tokenizer is None and found.masked is not None
    assert (found.run.epochs, found.run.warm_up_epochs, found.run.lr) == (300, 10, 1.5e-3)
    assert (found.masked.early_layer, found.masked.head_layers, found.masked.num_masked) == (9, 2, 75)
    assert found.sources is not None and found.sources.tokenizer == "runs/tokenizer"


@pytest.mark.parametrize(
    ("content", "run", "expected"),
    [
        (MASKED_CONTENT, {"iterations": 3000}, (None, 3000, 100)),
        (TOKENIZER_CONTENT, {"iterations": 3000}, (None, 3000, 300)),
        (MASKED_CONTENT, {"iterations": 3000, "warm_up_iterations": 7}, (None, 3000, 7)),
    ],
)
def test_read_pretraining__one_length_is_enough(
    content: dict[str, Any], run: dict[str, Any], expected: tuple[object, ...]
) -> None:
    found = read_pretraining(content | {"run": run}, "f").run
    assert (found.epochs, found.iterations, found.warm_up_iterations) == expected


def test_read_pretraining__warm_up_keeps_its_share_of_other_lengths() -> None:
    assert read_pretraining(MASKED_CONTENT | {"run": {"epochs": 90}}, "f").run.warm_up_epochs == 3
    published = [read_pretraining(MASKED_CONTENT | {"run": {"epochs": epochs}}, "f").run for epochs in (300, 1600)]
    assert [run.warm_up_epochs for run in published] == [10, 10]
    assert read_pretraining(TOKENIZER_CONTENT | {"run": {"epochs": 20}}, "f").run.warm_up_epochs == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": {}}, "stage is None, but one of tokenizer, masked is expected"),
        ({"stage": "masked"}, "sources cannot be used.*\n- tokenizer is missing"),
        (TOKENIZER_CONTENT | {"teachr": "x"}, "teachr is 'x': nobody knows this key; did you mean teacher"),
        (MASKED_CONTENT | {"teacher": "x"}, "teacher is 'x': nobody knows this key"),
        (MASKED_CONTENT | {"run": 3}, "run is 3, but a mapping is expected"),
        (MASKED_CONTENT | {"run": {"clips": 3}}, "f, run cannot be used as it is:\n- clips is 3.*did you mean clip"),
        (MASKED_CONTENT | {"data": 3}, "data is 3: a text is expected"),
    ],
)
def test_read_pretraining__refuses_by_name(content: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_pretraining(content, "f")


def test_with_target_width__changes_nothing_else() -> None:
    found = read_pretraining(TOKENIZER_CONTENT, "f")
    assert found.tokenizer is not None and not found.has_target_width
    wider = with_target_width(found.tokenizer, 99)
    assert (wider.target_width, wider.codebook, wider.encoder) == (
        99,
        found.tokenizer.codebook,
        found.tokenizer.encoder,
    )
