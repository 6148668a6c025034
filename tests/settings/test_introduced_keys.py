"""Which unread keys are mistakes; addict, of which ModelScope's configurations are made, plays its tricks itself."""

import logging

import pytest

from modelscope_beit.settings.introduced_keys import judge_unknown_keys, key_places, without_empty_introductions
from modelscope_beit.settings.log_once import log_once
from modelscope_beit.settings.problems import Problems

ORIGINAL = {
    "train": {
        "optimizer": {"type": "AdamW", "lr": 5e-5},
        "dataloader": {"batch_size_per_gpu": 32},
        "optimizer_config": {},
        "hub_only": {"a": 1, "b": [1, 2]},
        "custom_hooks": [{"type": "EMAHook"}, {"type": "StrangeHook", "x": 1}],
    },
    "steps": [{"type": "Flip", "note": 1}],
}


def judged(configuration: object, unknown: dict[str, str], original: object = ORIGINAL) -> list[str]:
    problems = Problems(unknown=dict(unknown))
    judge_unknown_keys(problems, configuration, original, "somewhere")  # type: ignore[arg-type]
    return problems.wrong


def with_train(**keys: object) -> dict[str, object]:
    return ORIGINAL | {"train": ORIGINAL["train"] | keys}


def test_judge_unknown_keys__names_what_was_meant() -> None:
    wrong = judged(with_train(optimzer={"lr": 1e-3}), {"train.optimzer": "did you mean optimizer?"})
    assert wrong == ["train.optimzer.lr is 0.001: nobody reads this; did you mean train.optimizer.lr?"]


def test_judge_unknown_keys__finds_the_key_in_another_section() -> None:
    wrong = judged(with_train(batch_size_per_gpu=8), {"train.batch_size_per_gpu": "known keys: optimizer"})
    assert wrong == [
        "train.batch_size_per_gpu is 8: nobody reads this; did you mean train.dataloader.batch_size_per_gpu?"
    ]


def test_judge_unknown_keys__keeps_the_readers_hint_where_nothing_is_near() -> None:
    wrong = judged(with_train(zzz=1), {"train.zzz": "known keys: optimizer"})
    assert wrong == ["train.zzz is 1: nobody reads this; known keys: optimizer"]
    # There are several keys `type`.
    wrong = judged(with_train(zzz={"type": 1}), {"train.zzz": "known keys: optimizer"})
    assert wrong == ["train.zzz.type is 1: nobody reads this; known keys: optimizer"]


def test_judge_unknown_keys__passes_the_folders_own_over_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    unknown = {"train.hub_only": "?", "steps[0].note": "?", "train.custom_hooks[1]": "?"}
    log_once.cache_clear()
    with caplog.at_level(logging.INFO):
        assert judged(ORIGINAL, unknown) == []
    (record,) = caplog.records
    assert "somewhere" in record.getMessage()
    assert all(path in record.getMessage() for path in unknown)


def test_judge_unknown_keys__sees_a_key_added_to_an_unread_section_of_the_folders_own() -> None:
    changed = with_train(hub_only={"a": 2, "b": [1, 2], "c": 3})
    assert judged(changed, {"train.hub_only": "?"}) == ["train.hub_only.c is 3: nobody reads this; ?"]


def test_judge_unknown_keys__a_step_put_first_moves_the_folders_own_keys() -> None:
    changed = ORIGINAL | {"steps": [{"type": "Resize"}, *ORIGINAL["steps"]]}
    assert judged(changed, {"steps[1].note": "?"}) == []
    # Another spelling of the same place.
    assert judged(changed, {"steps.1.note": "?"}) == []
    assert judged(changed | {"steps": [{"type": "Resize", "nte": 1}]}, {"steps[0].nte": "?"}) != []


def test_judge_unknown_keys__an_element_of_a_list_is_known_by_what_it_is() -> None:
    hooks = [{"type": "StrangeHook", "x": 1}, {"type": "StrangeHook", "x": 2}]
    changed = with_train(custom_hooks=hooks)
    unknown = {"train.custom_hooks[0]": "?", "train.custom_hooks[1]": "only EMAHook is run"}
    (wrong,) = judged(changed, unknown)
    assert wrong.startswith("train.custom_hooks[1] is {'type': 'StrangeHook', 'x': 2}")
    assert wrong.endswith("only EMAHook is run")


def test_judge_unknown_keys__without_an_original_nothing_was_introduced() -> None:
    assert judged(with_train(optimzer={"lr": 1}), {"train.optimzer": "?"}, None) == []


def test_without_empty_introductions__forgets_what_reading_an_addict_mapping_leaves() -> None:
    addict = pytest.importorskip("addict", reason="ModelScope's configurations are addict mappings")
    configuration = addict.Dict(ORIGINAL)
    assert not configuration.train.runner.max_epochs
    assert not configuration.train.momentum_config
    configuration.train.optimizer.betas = (0.9, 0.99)
    cleaned = without_empty_introductions(configuration, ORIGINAL)
    # The folder's own empty mapping says something: no clipping.
    assert cleaned["train"] == ORIGINAL["train"] | {
        "optimizer": {"type": "AdamW", "lr": 5e-5, "betas": [0.9, 0.99]},
        "optimizer_config": {},
    }
    assert type(cleaned["train"]) is dict
    # Here somebody has written it.
    assert without_empty_introductions({"a": {}, "b": {}}, {"a": None}) == {"a": {}}


def test_key_places__writes_places_of_lists_in_brackets() -> None:
    places = dict(key_places({"a": {"b": [{"c": 1}]}}))
    assert places == {"a": {"b": [{"c": 1}]}, "a.b": [{"c": 1}], "a.b[0]": {"c": 1}, "a.b[0].c": 1}
