"""A rule's choices in a configuration: beneath what the user has set, told in a table, and again from their file."""

import copy
import json
from typing import Any

import pytest

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.recipe_rules.applying import RULES, apply_rule, in_short, named_paths, user_settings
from modelscope_beit.settings.overrides import apply_overrides
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.start_configuration import with_recipe_of, with_training_sections
from rule_facts import facts, ruled

START = with_training_sections(helpers.TINY_CONFIGURATION, "tiny")


def apply(rule: str, *overrides: str, **changes: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns key path -> reason, and the configuration, of `beit train --recipe RULE --set OVERRIDES`."""
    configuration = apply_overrides(START, overrides)
    given = user_settings(configuration, START, named_paths(apply_overrides({}, overrides)))
    found = apply_rule(rule, configuration, facts(**changes, given=given))
    return {path: reason for path, _, reason in found.rows}, found.configuration


def test_apply_rule__every_value_has_a_reason_and_is_read() -> None:
    for rule in RULES:
        for changes in ({}, {"is_multi_label": True}, {"num_train": 600_000}, {"largest": 10**6}):
            found = ruled(rule, **changes)
            assert all(path and value and reason for path, value, reason in found.rows)
            content = found.configuration
            settings, recipe = read_recipe(content, where="x", original=helpers.TINY_CONFIGURATION)
            assert settings.model.num_classes == 5


def test_apply_rule__does_not_change_its_input() -> None:
    before = copy.deepcopy(START)
    apply_rule("bit", START, facts())
    assert before == START


def test_apply_rule__the_user_goes_before_the_rule() -> None:
    reasons, content = apply("auto", "lr=0.5", "train.optimizer.weight_decay=0.3", "mixup=0.4")
    assert content["train"]["optimizer"] == {
        "type": "AdamW",
        "lr": 0.5,
        "weight_decay": 0.3,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "constructor": "LearningRateDecayOptimizerConstructor",
        "paramwise_cfg": {"layer_decay_rate": 0.75},
    }
    assert content["model"]["mm_model"]["train_cfg"]["augments"] == [{"type": "BatchMixup", "alpha": 0.4, "prob": 1.0}]
    assert reasons["train.optimizer.lr"].startswith("as you set it; the rule says 0.0001: at least 0.0001")
    assert reasons["train.optimizer"].startswith("lr, weight_decay as you set it; else ")
    assert reasons["model.mm_model.train_cfg"].startswith("augments as you set it; else")


def test_apply_rule__also_where_the_user_sets_what_was_there() -> None:
    reasons, content = apply("auto", "epochs=30")
    assert content["train"]["max_epochs"] == START["train"]["max_epochs"] == 30  # type: ignore[index]
    same, _ = apply("bit", "train.optimizer.momentum=0.9", "batch_size=64", "accumulation=8")
    assert same["train.dataloader.batch_size_per_gpu"].startswith(
        "as you set it (BigTransfer's 512 pictures a step: 512"
    )
    assert reasons["train.max_epochs"] == "as you set it"
    assert apply("auto")[1]["train"]["max_epochs"] == 10


def test_user_settings__of_a_script() -> None:
    """cfg_modify_fn has no list of what it changes; a mapping that it replaces is wholly its own."""
    changed: Any = copy.deepcopy(START)
    changed["train"]["optimizer"] = {"type": "SGD", "lr": 0.1}
    changed["train"]["lr_config"]["warmup_iters"] = 7
    changed["train"]["early_stopping"] = {"patience": 3}
    changed["preprocessor"]["train"] = changed["preprocessor"]["train"][:-1]
    assert user_settings(changed, START) == {
        "train.optimizer": {"type": "SGD", "lr": 0.1},
        "train.lr_config.warmup_iters": 7,
        "train.early_stopping.patience": 3,
        "preprocessor.train": changed["preprocessor"]["train"],
    }
    assert user_settings(START, START) == {}


def test_user_settings__keys_with_dots_are_no_paths() -> None:
    new = {"train": {"paramwise_cfg": {"custom_keys": {".cls_token": {"decay_mult": 0.0}}}}}
    assert user_settings(new, {}) == {
        "train.paramwise_cfg.custom_keys": {".cls_token": {"decay_mult": 0.0}},
    }


def test_apply_rule__auto_is_for_our_transformers() -> None:
    with pytest.raises(SettingsError, match=r'"auto" knows BEiT v2, BEiT, ViT and DeiT.*Take the rule "bit"'):
        ruled("auto", width=None, depth=None, image_size=None)
    assert ruled("bit", width=None, depth=None, image_size=None).rows


def test_in_words__columns_without_loss() -> None:
    found = ruled("bit")
    text = found.in_words()
    assert text.startswith('The recipe, by the rule "bit":\n')
    assert max(map(len, text.splitlines())) <= 160
    squeezed = "".join(text.split())
    for path, value, _ in found.rows:
        assert path in text
        assert "".join(value.split())[:40] in squeezed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (0.000123456, "0.0001235"),
        ([1, 2.5], "(1, 2.5)"),
        ({"type": "SGD", "momentum": 0.9}, "SGD momentum 0.9"),
        ({"max_norm": 5.0}, "max_norm 5"),
        ([{"type": "LoadImageFromFile"}, {"type": "RandomFlip", "flip_prob": 0.5}], "RandomFlip flip_prob 0.5"),
    ],
)
def test_in_short(value: object, text: str) -> None:
    assert in_short(value) == text


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("changes", [{}, {"num_train": 600_000, "lineage": "self-supervised"}, {"largest": 10**6}])
def test_as_file__gives_the_same_recipe_by_config(rule: str, changes: dict[str, Any], tmp_path: Any) -> None:
    found = apply_rule(rule, START, facts(**changes, given={"train.early_stopping.patience": 3}))
    file = tmp_path / "recipe.json"
    file.write_text(found.as_file())
    again = with_recipe_of(START, file)
    first, second = (read_recipe(content, where="x", original=START) for content in (found.configuration, again))
    assert first[1] == second[1]
    assert first[0].model == second[0].model
    content = json.loads(file.read_text())
    assert content["_about"]["reasons"].keys() == {path for path, _, _ in found.rows}
    assert "num_classes" not in json.dumps(content["model"])
