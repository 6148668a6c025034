"""Titles and folders of results."""

from pathlib import Path

import pytest

from modelscope_beit.commands.output_folder import make_output_folder, title_of
from modelscope_beit.errors import SettingsError


@pytest.mark.parametrize(
    ("model", "data", "title"),
    [
        ("embedded", "owner/pets", "embedded on pets"),
        ("models/beit", "data/photos", "beit on photos"),
        ("models/beit/", "data/photos.v2.csv", "beit on photos.v2"),
        (".", "data/photos", "here on photos"),
    ],
)
def test_title_of__has_the_last_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, data: str, title: str
) -> None:
    here = tmp_path / "here"
    (here / "models" / "beit").mkdir(parents=True)
    (here / "data" / "photos").mkdir(parents=True)
    (here / "data" / "photos.v2.csv").write_text("")
    monkeypatch.chdir(here)
    assert title_of(model, data) == title


def test_make_output_folder__is_named_after_the_title_unless_told(tmp_path: Path) -> None:
    assert make_output_folder(None, tmp_path / "probe", "b:e/it on 照片.") == tmp_path / "probe" / "b_e_it_on_照片"
    assert make_output_folder(tmp_path / "a" / "b", tmp_path, "x") == tmp_path / "a" / "b"
    assert (tmp_path / "probe" / "b_e_it_on_照片").is_dir() and (tmp_path / "a" / "b").is_dir()
    assert make_output_folder(tmp_path / "a" / "b", tmp_path, "x").is_dir()


def test_make_output_folder__cannot_be_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SettingsError, match="taken cannot be made"):
        make_output_folder(tmp_path / "taken", tmp_path, "x")
