"""What is known of a model folder or a run, and whose words its card holds."""

import shutil
from pathlib import Path

import pytest

from modelscope_beit.errors import ModelFolderError
from modelscope_beit.publishing.source import read_front_matter, read_json, read_source


def test_read_source__of_a_run_by_either_folder(finished_run: Path) -> None:
    for folder in (finished_run, finished_run / "output"):
        source = read_source(folder)
        assert (source.model, source.run) == (finished_run / "output", finished_run)
        assert source.record["best"]["epoch"] == 1
        assert source.rows("Recipe")["Length"] == "1 epochs"
        assert source.rows("Data")["Training"] == "22 pictures"
        assert source.tables["Data"][-1] == ["dark", "7", "3"]
        assert source.own_words == ""
        assert (source.report, source.curves) == (finished_run / "report.json", finished_run / "curves.png")


def test_read_source__unescapes_the_tables_of_a_run(finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "output" / "README.md").write_text("## Data\n\n| Class | Training |\n| --- | --- |\n| a \\| \\*b\\* | 1 |\n")
    assert read_source(run).tables["Data"] == [["Class", "Training"], ["a | *b*", "1"]]


def test_read_source__keeps_what_a_person_has_written(tiny_model_folder: Path) -> None:
    (tiny_model_folder / "README.md").write_text("---\nlicense: MIT License\n---\n\n# Mine\n\n| a | b |\n")
    source = read_source(tiny_model_folder)
    assert source.own_words == "# Mine\n\n| a | b |" and source.front_matter == {"license": "MIT License"}
    assert (source.run, source.report, source.tables) == (None, None, {})


@pytest.mark.parametrize("text", ["<!-- written by beit publish -->", "| Written by | modelscope-beit 0.1.0 |"])
def test_read_source__does_not_take_our_own_words_for_a_persons(tiny_model_folder: Path, text: str) -> None:
    (tiny_model_folder / "README.md").write_text(f"---\nlicense: mit\n---\n{text}\n\n# Ours\n")
    assert read_source(tiny_model_folder).own_words == ""


def test_read_source__says_what_is_missing(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="There is no model folder"):
        read_source(tmp_path / "nothing")
    shutil.copyfile(finished_run / "run.json", tmp_path / "run.json")
    with pytest.raises(ModelFolderError, match="beit resume"):
        read_source(tmp_path)


@pytest.mark.parametrize("text", ["", "# A title\n", "---\n- a\n---\n", "---\na: [\n---\n", "---\na: 1\n"])
def test_read_front_matter__gives_nothing_where_there_is_none(text: str) -> None:
    assert read_front_matter(text) == {}


def test_read_json__names_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"x\.json"):
        read_json(tmp_path / "x.json")
