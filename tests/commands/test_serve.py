"""From the command line to settings; the server itself is in tests/whole/test_serving.py."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.commands import serve as command
from modelscope_beit.errors import SettingsError
from modelscope_beit.serving import serve as serving
from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.settings.serving import ServingSettings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ServedModel, ServingSettings, bool]]:
    """What would be served."""
    monkeypatch.delenv("BEIT_SERVE_TOKEN", raising=False)
    found: list[Any] = []

    def serve(model: ServedModel, settings: ServingSettings, *, on_listening: object, on_ray: bool) -> None:
        found.append((model, settings, on_ray))

    monkeypatch.setattr(serving, "serve", serve)
    return found


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def test_run__serves_with_the_usual_settings(asked: list[Any]) -> None:
    assert run("embedded") == 0
    ((model, settings, on_ray),) = asked
    assert settings == ServingSettings()
    assert (model.folder.name, model.device, on_ray) == ("embedded", "cpu", False)


def test_run__hands_every_option_on(asked: list[Any], tiny_model_folder: Path) -> None:
    words = "--host 0.0.0.0 --port 81 --workers 3 --topk 2 --batch-size 16 --batch-delay 0.01 --queue 99 --max-bytes 5"
    words += " --max-pixels 6 --max-pictures 7 --timeout 8 --allow-urls --engine ray --device cuda --precision bf16"
    words += " --fast-decode --trust-remote-code"
    run(str(tiny_model_folder), *words.split())
    ((model, settings, on_ray),) = asked
    assert on_ray
    assert settings == ServingSettings(
        host="0.0.0.0", port=81, workers=3, topk=2, max_batch=16, batch_delay=0.01, queue=99, max_bytes=5,
        max_pixels=6, max_pictures=7, timeout=8.0, allow_urls=True,
    )  # fmt: skip
    assert (model.folder, model.device, model.fast_decode, model.trust_remote_code) == (
        tiny_model_folder, "cuda", True, True,
    )  # fmt: skip
    assert model.inference.precision == "bf16"


def test_run__takes_the_token_from_a_file_or_the_environment(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("of the file\n")
    monkeypatch.setenv("BEIT_SERVE_TOKEN", "of the environment")
    run("embedded")
    run("embedded", "--token-file", str(file))
    assert [settings.token for _, settings, _ in asked] == ["of the environment", "of the file"]


def test_run__refuses_an_empty_token(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(SettingsError, match="token"):
        run("embedded", "--token-file", str(tmp_path / "token"))


def test_run__tells_what_is_wrong_before_a_model_is_looked_for(asked: list[Any]) -> None:
    with pytest.raises(SettingsError, match="workers must be at least 1"):
        run("no_such_folder", "--workers", "0")
    assert asked == []
