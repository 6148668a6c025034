"""Files, folders, the word embedded and hub ids."""

import pytest

from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.errors import ModelFolderError
from modelscope_beit.plugin import hub


def test_local_path__file_folder_embedded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights.pth").write_bytes(b"x")
    assert local_path(str(tmp_path / "weights.pth")) == local_path("~/weights.pth") == tmp_path / "weights.pth"
    assert local_path(str(tmp_path)) == tmp_path
    assert local_path("embedded").name == "embedded"


def test_local_path__hub_id_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download_model", lambda model_id: tmp_path / model_id)
    assert local_path("damo/some_model") == tmp_path / "damo" / "some_model"


def test_local_path__what_lies_here_goes_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download_model", lambda _: pytest.fail("asked the hub"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "best").mkdir()
    assert local_path("out/best").resolve() == tmp_path / "out" / "best"
    with pytest.raises(ModelFolderError, match="There is no model folder"):
        local_path("./out/worst")
    with pytest.raises(ModelFolderError, match="There is no out/worst .*because there is a folder out"):
        local_path("out/worst")


def test_local_path__of_a_run_is_the_model_that_it_wrote(tmp_path):
    (tmp_path / "run" / "output").mkdir(parents=True)
    (tmp_path / "run" / "configuration.json").write_text("{}")
    assert local_path(str(tmp_path / "run")) == tmp_path / "run"
    (tmp_path / "run" / "output" / "configuration.json").write_text("{}")
    assert local_path(str(tmp_path / "run")) == tmp_path / "run" / "output"
