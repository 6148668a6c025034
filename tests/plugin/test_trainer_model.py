"""Which folder a trainer's model stands for, and when the hub is asked."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from modelscope.models.base import Model

from modelscope_beit.errors import SettingsError
from modelscope_beit.plugin import trainer_model
from modelscope_beit.plugin.trainer_model import given_classifier, model_folder


def test_model_folder__asks_the_hub_once_and_only_for_what_is_not_here(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(model: str, *, revision: str | None) -> Path:
        asked.append((model, revision))
        return tiny_model_folder

    monkeypatch.setattr(trainer_model, "_download", functools.cache(download))
    assert model_folder(str(tiny_model_folder), None, "master") == tiny_model_folder
    assert model_folder(tiny_model_folder / "pytorch_model.pt", None, "master") == tiny_model_folder
    assert not asked
    for _ in range(2):
        assert model_folder("damo/some_model", None, "v1.0.2") == tiny_model_folder
    assert asked == [("damo/some_model", "v1.0.2")]


def test_model_folder__without_a_text(tiny_model_folder: Path, tmp_path: Path) -> None:
    model = Model.from_pretrained(str(tiny_model_folder))
    assert model_folder(model, None, None) == tiny_model_folder
    assert model_folder(model, str(tmp_path / "configuration.json"), None) == tmp_path
    assert model_folder(None, str(tmp_path / "configuration.json"), None) == tmp_path
    with pytest.raises(SettingsError, match="model is None; a hub id"):
        model_folder(None, None, None)


def test_given_classifier__refuses_a_network_that_would_be_left_out(tiny_model_folder: Path) -> None:
    model = Model.from_pretrained(str(tiny_model_folder))
    assert given_classifier(model) is model
    assert given_classifier(str(tiny_model_folder)) is None
    assert given_classifier(None) is None
    with pytest.raises(SettingsError, match="model is a Linear"):
        given_classifier(torch.nn.Linear(2, 2))
