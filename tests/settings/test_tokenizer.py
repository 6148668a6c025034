"""Settings of the tokenizer: published defaults, what is refused, and reading back what was written."""

import json

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.settings.tokenizer import (
    CodebookSettings,
    TokenizerSettings,
    read_tokenizer_settings,
    tokenizer_settings_from,
    write_tokenizer_settings,
)


def test_tokenizer_settings__defaults_are_the_released_tokenizer() -> None:
    settings = TokenizerSettings()
    encoder, decoder = settings.encoder, settings.decoder
    assert (encoder.width, encoder.depth, encoder.num_heads, encoder.patch_size) == (768, 12, 12, 16)
    assert (decoder.depth, decoder.patch_size, decoder.in_channels, decoder.image_size) == (3, 1, 32, (14, 14))
    for part in (encoder, decoder):
        assert part.absolute_position and part.relative_position == "none" and part.layer_scale_init is None
        assert part.pooling == "mean" and part.qkv_bias == "qv" and part.layer_norm_eps == 1e-6
    codebook = settings.codebook
    assert (codebook.num_codes, codebook.code_width, codebook.decay, codebook.commitment) == (8192, 32, 0.99, 1.0)
    assert codebook.start == "kmeans" and codebook.revive_after is None
    assert settings.num_patches == 196


def test_tokenizer_settings__tell_all_wrong_values_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        TokenizerSettings(decoder_depth=0, target_width=0, codebook=CodebookSettings(num_codes=0, decay=1.0))
    for word in ("num_codes", "decay", "decoder_depth", "target_width"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("values", "word"),
    [({"width": 50, "num_heads": 12}, "num_heads"), ({"image_size": (220, 224)}, "image_size")],
)
def test_tokenizer_settings__lets_the_transformers_tell_what_they_cannot_be(values: dict, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        TokenizerSettings(**values)


@pytest.mark.parametrize(
    "values",
    [{"commitment": -1.0}, {"start": "elsewhere"}, {"revive_after": 0}, {"code_width": 0}],
)
def test_codebook_settings__refuses(values: dict) -> None:
    (name,) = values
    with pytest.raises(SettingsError, match=rf"codebook\.{name}"):
        TokenizerSettings(codebook=CodebookSettings(**values))


def test_write_tokenizer_settings__is_read_back_after_json() -> None:
    settings = TokenizerSettings(
        image_size=(32, 64),
        patch_size=8,
        width=64,
        num_heads=4,
        codebook=CodebookSettings(num_codes=16, start="random", revive_after=5, decay=0.9),
        gradient_checkpointing=True,
    )
    written = json.loads(json.dumps(write_tokenizer_settings(settings)))
    assert tokenizer_settings_from(written, "here") == settings


def test_tokenizer_settings_from__gives_the_published_values_for_what_is_absent() -> None:
    assert tokenizer_settings_from({}, "here") == TokenizerSettings()


def test_tokenizer_settings_from__lists_wrong_and_unknown_keys() -> None:
    mapping = {"widht": 64, "codebook": {"decay": "much", "start": 3, "revive_after": "soon", "codes": 1}}
    with pytest.raises(SettingsError) as caught:
        tokenizer_settings_from(mapping, "run.json")
    for part in (
        "run.json",
        "tokenizer.widht",
        "did you mean width?",
        "tokenizer.codebook.decay",
        "codebook.start",
        "codebook.revive_after",
        "codebook.codes",
    ):
        assert part in str(caught.value)


def test_read_tokenizer_settings__refuses_a_codebook_that_is_no_mapping() -> None:
    problems = Problems()
    read_tokenizer_settings(Section({"codebook": 8192}, "tokenizer", problems))
    assert "tokenizer.codebook is 8192" in problems.wrong[0]
