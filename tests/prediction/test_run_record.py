"""What a run was begun with: written, compared, missing, broken; and the digest of a model."""

import re
from pathlib import Path

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.prediction.run_record import (
    check_record,
    find_records,
    model_digest,
    record_path,
    write_record,
)

SETTINGS = {"MODEL": "sha256:1", "--topk": 5, "--batch-size": 32}


def test_check_record__passes_the_same_settings_and_names_all_others(tmp_path: Path) -> None:
    rows = tmp_path / "preds.partial.csv"
    write_record(rows, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["preds.partial.csv.run.json"]
    check_record(rows, dict(SETTINGS))
    with pytest.raises(SettingsError, match=r"MODEL was sha256:1 and is sha256:2; --topk was 5 and is 3; --new was"):
        check_record(rows, SETTINGS | {"MODEL": "sha256:2", "--topk": 3, "--new": "x"})


@pytest.mark.parametrize(("content", "expected"), [(None, "is not there"), ("{", "cannot be read"), ("[]", "what it")])
def test_check_record__refuses_what_is_not_known(tmp_path: Path, content: str | None, expected: str) -> None:
    rows = tmp_path / "preds.partial.csv"
    if content is not None:
        record_path(rows).write_text(content)
    with pytest.raises(SettingsError, match=expected):
        check_record(rows, SETTINGS)


def test_find_records__finds_those_of_some_files_only(tmp_path: Path) -> None:
    for name in ("a.1.csv.run.json", "a.2.csv.run.json", "b.1.csv.run.json", "a.1.csv", "a.3.csv.json"):
        (tmp_path / name).touch()
    found = find_records(tmp_path, re.compile(r"a\.\d\.csv"))
    assert [path.name for path in found] == ["a.1.csv.run.json", "a.2.csv.run.json"]


@pytest.mark.parametrize(
    ("name", "is_other"),
    [("pytorch_model.pt", True), ("configuration.json", True), ("classname.txt", True), ("README.md", False),
     (".msc", False), ("output/model.bin", False)],
)  # fmt: skip
def test_model_digest__is_another_when_what_decides_is(tiny_model_folder: Path, name: str, is_other: bool) -> None:
    before = model_digest(tiny_model_folder)
    path = tiny_model_folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" + (path.read_bytes() if path.exists() else b""))
    assert (model_digest(tiny_model_folder) != before) is is_other


def test_model_digest__of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"abc")
    # As sha256sum gives it.
    expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert model_digest(tmp_path / "model.onnx") == expected
