"""KEY=VALUE of the command line in a configuration."""

import copy

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.overrides import SHORT_KEYS, apply_overrides, read_value, short_keys_help, split_path

CONFIGURATION = {
    "model": {
        "mm_model": {
            "backbone": {"drop_path_rate": 0.1},
            "head": {"loss": {"type": "CrossEntropyLoss"}},
            "train_cfg": {
                "augments": [
                    {"type": "BatchMixup", "alpha": 0.8, "num_classes": 10, "prob": 0.5},
                    {"type": "BatchCutMix", "alpha": 1.0, "num_classes": 10, "prob": 0.5},
                ]
            },
        }
    },
    "train": {
        "max_epochs": 30,
        "optimizer": {"lr": 5e-5, "paramwise_cfg": {"custom_keys": {".cls_token": {"decay_mult": 1.0}}}},
        "optimizer_config": None,
        "lr_config": {"min_lr_ratio": 0.01},
        "custom_hooks": None,
    },
    "evaluation": {"dataloader": {"workers_per_gpu": 2}},
}
AUGMENTS = "model.mm_model.train_cfg.augments"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("[256, -1]", [256, -1]),
        ("(0.9, 0.99)", [0.9, 0.99]),
        ('{"max_norm": 5.0}', {"max_norm": 5.0}),
        ("{'max_norm': 5.0}", {"max_norm": 5.0}),
        ('"1"', "1"),
        ("AdamW", "AdamW"),
        ("runs/a=b.pth", "runs/a=b.pth"),
        ("", ""),
        # Python's JSON reader takes NaN for a number; no setting can be one.
        ("NaN", "NaN"),
    ],
)
def test_read_value__json_then_python_then_text(text: str, value: object) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


@pytest.mark.parametrize("text", ["[1, 2", "{max_norm: 5}", '"half'])
def test_read_value__refuses_what_only_begins_as_a_value(text: str) -> None:
    with pytest.raises(SettingsError, match="neither JSON nor a Python literal"):
        read_value(text)


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("train.optimizer.lr", ["train", "optimizer", "lr"]),
        ("a.0.b", ["a", "0", "b"]),
        ("a[0].b", ["a", "0", "b"]),
        ('custom_keys.".cls_token".decay_mult', ["custom_keys", ".cls_token", "decay_mult"]),
    ],
)
def test_split_path__keys(path: str, keys: list[str]) -> None:
    assert split_path(path) == keys


@pytest.mark.parametrize("path", ["", ".a", "a.", "a..b", "a[b]", 'a."b'])
def test_split_path__refuses_malformed(path: str) -> None:
    with pytest.raises(SettingsError):
        split_path(path)


def test_apply_overrides__changes_a_copy_only() -> None:
    before = copy.deepcopy(CONFIGURATION)
    changed = apply_overrides(
        CONFIGURATION,
        [
            "train.optimizer.lr=1e-4",
            f"{AUGMENTS}.0.alpha=0.5",
            f"{AUGMENTS}[1].alpha=0.25",
            'train.optimizer.paramwise_cfg.custom_keys.".cls_token".decay_mult=0',
            "train.new.section=7",
            "train.optimizer_config.grad_clip.max_norm=1",
        ],
    )
    assert CONFIGURATION == before
    assert changed["train"]["optimizer"]["lr"] == 1e-4
    assert [element["alpha"] for element in changed["model"]["mm_model"]["train_cfg"]["augments"]] == [0.5, 0.25]
    assert changed["train"]["optimizer"]["paramwise_cfg"]["custom_keys"] == {".cls_token": {"decay_mult": 0}}
    assert changed["train"]["new"] == {"section": 7}
    assert changed["train"]["optimizer_config"] == {"grad_clip": {"max_norm": 1}}


def test_apply_overrides__later_ones_win_and_see_earlier_ones() -> None:
    changed = apply_overrides({}, ["train.list=[]", 'train.list.0={"a": 1}', "train.list.0.b=2", "x=1", "x=2"])
    assert changed == {"train": {"list": [{"a": 1, "b": 2}]}, "x": 2}


def test_apply_overrides__tells_all_mistakes_at_once() -> None:
    mistakes = ["lr", "=3", "train.max_epochs.lr=1", f"{AUGMENTS}.5.alpha=1", f"{AUGMENTS}.alpha=1", "lr=[1", "a..b=1"]
    with pytest.raises(SettingsError) as told:
        apply_overrides(CONFIGURATION, mistakes)
    message = str(told.value)
    assert message.count("\n- ") == len(mistakes)
    assert "train.max_epochs is 30, which holds no key 'lr'" in message
    assert f"{AUGMENTS} is a list of 2; a place from 0 to 2 is expected, not '5'" in message


@pytest.mark.parametrize("name", [name for name, short in SHORT_KEYS.items() if not short.of_type])
def test_short_key__reaches_its_paths(name: str) -> None:
    changed = apply_overrides(CONFIGURATION, [f"{name}=0.125"])
    for path in SHORT_KEYS[name].paths:
        place: object = changed
        for key in path.split("."):
            assert isinstance(place, dict)
            place = place[key]
        assert place == 0.125


def test_short_key__brings_what_has_to_go_with_it() -> None:
    train = apply_overrides(CONFIGURATION, ["warmup_epochs=5", "min_lr=1e-6"])["train"]
    # mmcv refuses min_lr beside min_lr_ratio.
    assert train["lr_config"] == {
        "warmup": "linear",
        "warmup_by_epoch": True,
        "warmup_iters": 5,
        "min_lr": 1e-6,
        "min_lr_ratio": None,
    }


def test_short_key__mixup_shares_the_probability_with_what_is_added_or_left() -> None:
    def augments(*overrides: str, start: object = CONFIGURATION) -> object:
        return apply_overrides(start, overrides)["model"]["mm_model"]["train_cfg"]["augments"]

    changed = {element["type"]: element for element in augments("mixup=0.2")}
    assert changed["BatchMixup"] == {"type": "BatchMixup", "alpha": 0.2, "num_classes": 10, "prob": 0.5}
    assert changed["BatchCutMix"] == CONFIGURATION["model"]["mm_model"]["train_cfg"]["augments"][1]
    assert augments("cutmix=0") == [{"type": "BatchMixup", "alpha": 0.8, "num_classes": 10, "prob": 1.0}]
    assert augments("cutmix=0", "mixup=null") is None
    assert augments("cutmix=0.5", start={}) == [{"type": "BatchCutMix", "alpha": 0.5, "prob": 1.0}]
    rarely = copy.deepcopy(CONFIGURATION)
    rarely["model"]["mm_model"]["train_cfg"]["augments"][0]["prob"] = 0.1
    assert {element["prob"] for element in augments("mixup=0.2", start=rarely)} == {0.1, 0.5}
    one = {"model": {"mm_model": {"train_cfg": {"augments": {"type": "BatchMixup", "alpha": 1.0, "prob": 1.0}}}}}
    assert {element["prob"] for element in augments("cutmix=1.0", start=one)} == {0.5}


def test_short_key__ema_leaves_other_hooks_alone() -> None:
    hook = {"type": "DistSamplerSeedHook"}
    train = apply_overrides({"train": {"custom_hooks": [hook]}}, ["ema=0.001"])["train"]
    assert train["custom_hooks"] == [hook, {"type": "EMAHook", "momentum": 0.001}]


def test_short_keys_help__names_every_key_and_path() -> None:
    lines = short_keys_help().splitlines()
    assert len(lines) == len(SHORT_KEYS)
    for line, (name, short) in zip(lines, SHORT_KEYS.items(), strict=True):
        assert line.startswith(f"{name}=")
        assert all(path in line for path in short.paths)
