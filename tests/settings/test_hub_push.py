"""Push settings are found where ModelScope's TrainingArgs and hooks put them, and leave nothing behind."""

import copy
from typing import Any

import pytest
from modelscope.trainers.hooks.checkpoint.checkpoint_hook import CheckpointHook
from modelscope.trainers.training_args import TrainingArgs
from modelscope.utils.config import Config

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.hub_push import PUSH_KEYS, HubPush, read_pushes, take_push_settings, without_tokens

TOKEN = "ms-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
PUSH = {"push_to_hub": True, "hub_repo_id": "me/pets", "hub_token": TOKEN}


def test_push_keys__are_those_of_the_hosts_hook() -> None:
    hook = vars(CheckpointHook())
    assert {name for name in hook if "hub" in name or name == "upload_strategy"} == set(PUSH_KEYS)


@pytest.mark.parametrize(
    ("train", "rest", "paths"),
    [
        ({"checkpoint": {"period": PUSH}}, {}, ["train.checkpoint.period"]),
        ({"checkpoint": {"best": PUSH, "period": {"interval": 1}}}, {"checkpoint": {"period": {"interval": 1}}}, None),
        ({"hooks": [{"type": "CheckpointHook", **PUSH}]}, {}, ["train.hooks[0]"]),
        ({"hooks": [{"type": "X"}, {"interval": 1, **PUSH}]}, {"hooks": [{"type": "X"}, {"interval": 1}]}, None),
        ({"max_epochs": 1, "checkpoint": {}, "hooks": []}, {"max_epochs": 1, "checkpoint": {}, "hooks": []}, []),
    ],
)
@pytest.mark.parametrize("kind", [dict, Config])
def test_take_push_settings__leaves_nothing_of_it(
    kind: Any, train: dict[str, Any], rest: dict[str, Any], paths: list[str] | None
) -> None:
    configuration = kind(copy.deepcopy({"train": train, "work_dir": "w"}))
    taken = take_push_settings(configuration)
    assert paths is None or list(taken) == paths
    left = configuration if kind is dict else configuration.to_dict()
    assert left == {"train": rest, "work_dir": "w"}
    assert TOKEN not in str(left)
    if taken:
        assert list(taken.values()) == [PUSH]


def test_read_pushes__what_training_args_write(monkeypatch: pytest.MonkeyPatch) -> None:
    given = f"--push_to_hub true --repo_id me/pets --hub_token {TOKEN} --use_model_config true"
    given += " --push_to_hub_best true --repo_id_best me/best --hub_revision_best dev"
    monkeypatch.setattr("sys.argv", ["finetune.py", *given.split()])
    configuration, _ = TrainingArgs(model="me/start", max_epochs=1).parse_cli().to_config()
    assert read_pushes(take_push_settings(configuration)) == [
        HubPush("me/pets", True, None, TOKEN),
        HubPush("me/best", True, "dev", None),
    ]
    assert configuration.train.to_dict() == {"max_epochs": 1}


def test_take_push_settings__of_something_without_training() -> None:
    assert take_push_settings({"model": {}}) == {}
    assert take_push_settings({"train": None}) == {}


def test_read_pushes__defaults_are_the_hosts() -> None:
    (push,) = read_pushes({"train.checkpoint.period": {"push_to_hub": True, "hub_repo_id": "me/pets"}})
    assert push == HubPush("me/pets", private=CheckpointHook().private_hub, revision=None, token=None)
    assert read_pushes({"": {"push_to_hub": False, "hub_repo_id": None}}) == []
    assert TOKEN not in repr(read_pushes({"": PUSH}))


def test_read_pushes__each_place_once() -> None:
    public = {**PUSH, "private_hub": False}
    other = {**PUSH, "hub_repo_id": "me/best", "hub_revision": "dev"}
    pushes = read_pushes({"train.checkpoint.period": PUSH, "train.hooks[0]": public, "train.checkpoint.best": other})
    assert pushes == [HubPush("me/pets", False, None, TOKEN), HubPush("me/best", True, "dev", TOKEN)]


def test_read_pushes__tells_all_that_is_wrong_and_no_token() -> None:
    wrong = {"push_to_hub": True, "hub_repo_id": "pets", "private_hub": "yes", "hub_revision": 1, "hub_token": [TOKEN]}
    with pytest.raises(SettingsError) as caught:
        read_pushes({"": {"push_to_hub": True}, "train.checkpoint.best": wrong})
    told = str(caught.value)
    assert "\n- hub_repo_id is None: 'namespace/name' is expected" in told
    for name in ("hub_repo_id is 'pets'", "private_hub is 'yes'", "hub_revision is 1", "hub_token is a list"):
        assert f"\n- train.checkpoint.best.{name}" in told
    assert TOKEN not in told


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("a.py --hub_token X --lr 1", "a.py --hub_token *** --lr 1"),
        ("a.py --hub-token=X --lr 1", "a.py --hub-token=*** --lr 1"),
        ("a.py --hub_token_best X", "a.py --hub_token_best ***"),
        ("train --set train.checkpoint.best.hub_token=X", "train --set train.checkpoint.best.hub_token=***"),
        ("a.py --tokens 3 token", "a.py --tokens 3 token"),
    ],
)
def test_without_tokens__hides_values_only(line: str, kept: str) -> None:
    assert without_tokens(line.split()) == kept.split()
