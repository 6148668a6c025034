"""Settings of the tokenizer: published defaults, what is refused, and reading back what was written."""

import json

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.pretraining_configuration import read_pretraining
from modelscope_beit.settings.tokenizer import (
    CodebookSettings,
    CropSettings,
    TokenizerSettings,
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
    for part in ("run.json", "widht", "did you mean width?", "codebook.decay", "codebook.start", "codebook.codes"):
        assert part in str(caught.value)
    assert "codebook.revive_after" in str(caught.value)


def test_tokenizer_settings_from__a_size_stands_for_the_numbers_of_an_architecture() -> None:
    small = tokenizer_settings_from({"size": "small", "encoder_depth": 3}, "here")
    assert (small.width, small.num_heads, small.mlp_hidden, small.encoder_depth) == (384, 6, 1536, 3)
    assert small.decoder_depth == 3
    with pytest.raises(SettingsError, match=r"tokenizer\.size is 'medium', but one of tiny"):
        tokenizer_settings_from({"size": "medium"}, "here")


@pytest.mark.parametrize(
    ("values", "word"),
    [({"scale": (0.5, 0.2)}, "scale"), ({"ratio": (0, 1)}, "ratio"), ({"flip": 1.5}, "flip")],
)
def test_crop_settings__refuses(values: dict, word: str) -> None:
    with pytest.raises(SettingsError, match=f"Pictures cannot be cut: {word}"):
        CropSettings(**values)


def test_crop_settings__defaults_are_the_published_ones() -> None:
    crops = CropSettings()
    assert (crops.scale, crops.ratio, crops.flip, crops.fixed) == ((0.08, 1.0), (3 / 4, 4 / 3), 0.5, False)


@pytest.mark.parametrize(
    ("run", "processes", "rate"),
    [
        ({}, 8, 2e-4),
        ({}, 1, 2.5e-5),
        ({"batch_size": 128, "accumulation": 2}, 4, 4e-4),
        ({"batch_size": 128, "lr": 1e-3}, 8, 1e-3),
    ],
)
def test_read_pretraining__scales_the_rate_of_a_tokenizer(run: dict, processes: int, rate: float) -> None:
    # Trap 28: here the rate follows the pictures of a step, and in no other stage.
    found = read_pretraining({"stage": "tokenizer", "run": run}, "here", num_processes=processes).run
    assert (found.lr, found.min_lr) == pytest.approx((rate, 1e-5))
    masked = {"stage": "masked", "sources": {"tokenizer": "t"}, "run": {"batch_size": 4}}
    assert read_pretraining(masked, "here", num_processes=processes).run.lr == pytest.approx(1.5e-3)


def test_read_pretraining__has_the_published_recipe() -> None:
    run = read_pretraining({"stage": "tokenizer"}, "here", num_processes=8).run
    assert (run.epochs, run.batch_size, run.lr, run.min_lr, run.warm_up_epochs) == (100, 64, 2e-4, 1e-5, 10)
    assert (run.weight_decay, run.betas, run.eps, run.clip) == (1e-4, (0.9, 0.99), 1e-8, None)


def test_read_pretraining__min_lr_never_exceeds_the_scaled_peak() -> None:
    run = read_pretraining({"stage": "tokenizer", "run": {"batch_size": 8}}, "here").run
    assert run.lr == pytest.approx(3.125e-6) and run.min_lr == run.lr
