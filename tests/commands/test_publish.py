"""`beit publish`, as a person runs it. Neither an interpreter nor a hub is asked here; tests/whole does it."""

import json
from pathlib import Path

import pytest

import hub_server
from modelscope_beit.__main__ import main
from modelscope_beit.publishing import publishing, staging, uploading
from modelscope_beit.publishing.staged_folder import Check
from modelscope_beit.publishing.uploading import Uploaded
from modelscope_beit.publishing.usage_code import Usage

PAGE = "https://example.org/models/me/pets"


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    calls: list[dict] = []

    def upload(folder: Path, destination, **keywords) -> Uploaded:
        calls.append({"folder": folder, "destination": destination, **keywords})
        keywords["progress"](1, 2)
        return Uploaded(PAGE, "master", ("README.md",), ("pytorch_model.pt",), (), keywords["tag"])

    monkeypatch.setattr(publishing, "upload", upload)
    monkeypatch.setattr(staging, "check_folder", lambda *a, **k: [Check("size", "so many bytes", True)])
    monkeypatch.setattr(staging, "run_usage", lambda *a, **k: Usage("print(1)", "resources/pictures/x.png", "1", ""))
    return calls


def test_publish__stages_shows_and_sends(tiny_model_folder, tmp_path, uploads, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status = main(["publish", str(tiny_model_folder), "modelscope:me/pets", "--tag", "v1", "--revision", "dev"])
    assert status == 0
    out, errors = capsys.readouterr()
    assert "pytorch_model.pt" in out and "so many bytes" in out and PAGE in out and "v1" in out
    assert "checking the folder ..." in errors
    (call,) = uploads
    assert call["folder"] == tmp_path / "staged" / "modelscope" / "me" / "pets"
    assert (call["private"], call["tag"], call["token"]) == (True, "v1", None)
    assert call["destination"].revision == "dev"


def test_publish__by_the_hubs_client_and_again(
    tiny_model_folder, tmp_path, uploads, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real client, against a hub that speaks the endpoints it calls."""
    monkeypatch.setattr(publishing, "upload", uploading.upload)
    command = ["publish", str(tiny_model_folder), "modelscope:someone/pets", "--stage", str(tmp_path / "out"), "--json"]
    with hub_server.running_hub() as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", hub_server.TOKEN)
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
        assert main(command) == 0
        first, errors = capsys.readouterr()
        assert main(command) == 0
        second = json.loads(capsys.readouterr().out)["uploaded"]
    content = json.loads(first)
    assert sorted(content["uploaded"]["files_new"]) == sorted(content["files"])
    staged = {name: (tmp_path / "out" / name).read_bytes() for name in content["files"]}
    assert hub.repositories["someone/pets"].branches["master"] == staged
    # Staged once more it is the same, so there is nothing to send.
    assert second["files_new"] == [] and sorted(second["files_same"]) == sorted(staged)
    assert hub_server.TOKEN not in first + errors


def test_publish__dry_run_stops_before_anything_leaves(tiny_model_folder, tmp_path, uploads, capsys) -> None:
    command = ["publish", str(tiny_model_folder), "huggingface:me/pets", "--stage", str(tmp_path / "out")]
    assert main([*command, "--dry-run", "--json", "--no-private", "--license", "mit"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["uploaded"] is None and content["is_right"] and content["bytes"] == sum(content["files"].values())
    assert content["checks"][-1] == {"name": "size", "finding": "so many bytes", "is_right": True}
    assert uploads == [] and "license: mit" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_publish__sends_nothing_after_a_failed_check(tiny_model_folder, tmp_path, uploads, capsys, monkeypatch) -> None:
    wrong = [Check("secrets", "a token in README.md", False), Check("code", "a pickle", False)]
    monkeypatch.setattr(staging, "check_folder", lambda *a, **k: wrong)
    assert main(["publish", str(tiny_model_folder), "modelscope:me/pets", "--stage", str(tmp_path / "out")]) == 1
    out = capsys.readouterr().out
    assert "a token in README.md" in out and "a pickle" in out and "Nothing was sent." in out
    assert uploads == [] and (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize("words", [["me/pets"], ["modelscope:pets"]])
def test_publish__refuses_a_destination_before_any_work(tiny_model_folder, uploads, capsys, words: list[str]) -> None:
    assert main(["publish", str(tiny_model_folder), *words]) == 2
    assert "modelscope:" in capsys.readouterr().err
