"""From a word to a folder."""

import pytest

from modelscope_beit import names
from modelscope_beit.errors import ModelFolderError
from modelscope_beit.model_folder.finding import find_model_folder, looks_like_hub_id


def test_find_model_folder__folder(tmp_path):
    assert find_model_folder(tmp_path) == tmp_path
    assert find_model_folder(str(tmp_path)) == tmp_path


def test_find_model_folder__home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert find_model_folder("~/model") == tmp_path / "model"


def test_find_model_folder__embedded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    embedded = find_model_folder("embedded")
    assert embedded == find_model_folder(None) == find_model_folder()
    assert embedded.parts[-2:] == ("modelscope_beit", "embedded")
    (tmp_path / "embedded").mkdir()
    assert find_model_folder("embedded").resolve() == tmp_path / "embedded"


def test_find_model_folder__file(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(ModelFolderError, match=r"is a file(.|\n)*beit convert .*weights.pth FOLDER"):
        find_model_folder(tmp_path / "weights.pth")


def test_find_model_folder__hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFolderError, match=f"modelscope download --model {names.HUB_BASE}"):
        find_model_folder(names.HUB_BASE)


def test_find_model_folder__nothing(tmp_path):
    with pytest.raises(ModelFolderError, match="There is no model folder"):
        find_model_folder(tmp_path / "a" / "b")


def test_looks_like_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "best").mkdir(parents=True)
    (tmp_path / "damo").mkdir()
    for hub_id in (names.HUB_LARGE, "owner/name", "timm/beitv2_base_patch16_224.in1k_ft_in22k", "a/v1.5"):
        assert looks_like_hub_id(hub_id)
    for other in ("out/best", "./out/x", "/abs/x", "a/b/c", "a", "~/x", "../x", "a/../b", "C:\\x/y", tmp_path):
        assert not looks_like_hub_id(other)


@pytest.mark.parametrize(
    ("model", "why"), [("photos/model", "there is a folder photos"), ("runs/best.ONNX", r"files are named \*.ONNX")]
)
def test_find_model_folder__a_path_with_a_mistake_is_no_hub_id(tmp_path, monkeypatch, model, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert not looks_like_hub_id(model)
    with pytest.raises(ModelFolderError, match=f"There is no {model} in(.|\n)*not asked for it, because {why}"):
        find_model_folder(model)
