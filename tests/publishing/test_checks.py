"""Every check finds what it is for, names it, and passes what is right. Opening by pipeline() is in tests/whole."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from modelscope_beit.publishing import checks as module
from modelscope_beit.publishing.answers import Answer
from modelscope_beit.publishing.checks import (
    check_answers,
    check_code,
    check_folder,
    check_front_matter,
    check_local_paths,
    check_secrets,
    check_size,
)
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.fresh_process import Finished
from modelscope_beit.publishing.self_contained import add_wrapper

HUB = Destination("modelscope", "me/pets")
CARD = "---\nframeworks: [pytorch]\nlicense: mit\ntasks: [image-classification]\ntags: [beit]\n---\n# Pets\n"
ANSWERS = [Answer("resources/pictures/a.png", ("cat", "dog"), (0.75, 0.25))]


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    (folder / "resources").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "configuration.json").write_text('{"task": "image-classification"}')
    torch.save({"state_dict": {"x": torch.ones(2)}, "meta": {"CLASSES": ["cat"]}}, folder / "pytorch_model.pt")
    told = {"answers": [{"picture": one.picture, "labels": one.labels, "scores": one.scores} for one in ANSWERS]}
    (folder / "resources" / "answers.json").write_text(json.dumps(told))
    return folder


def saying(monkeypatch: pytest.MonkeyPatch, finished: Finished) -> None:
    monkeypatch.setattr(module, "run_python", lambda *arguments, **keywords: finished)


def test_check_folder__of_a_right_one(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, Finished(0, 'noise\n[[["cat", "dog"], [0.75, 0.25]]]\n', ""))
    found = check_folder(staged, HUB)
    assert [check.name for check in found if check.is_right] == [
        *("golden answers", "front matter", "secrets", "local paths", "code", "size")
    ]


def test_check_folder__tells_everything_that_is_wrong_at_once(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, Finished(1, "", "RuntimeError: no"))
    (staged / "README.md").write_text("# No front matter, from /tmp/x/y\n")
    (staged / "configuration.json").write_text('{"plugins": ["x"], "train": {"hub_token": "abc"}}')
    wrong = {check.name: check.finding for check in check_folder(staged, HUB) if not check.is_right}
    assert wrong.keys() == {"golden answers", "front matter", "secrets", "local paths", "code"}
    assert "RuntimeError: no" in wrong["golden answers"]


@pytest.mark.parametrize(
    ("said", "is_right"),
    [([["cat", "dog"], [0.75002, 0.24998]], True), ([["cat", "dog"], [0.76, 0.24]], False),
     ([["dog", "cat"], [0.75, 0.25]], False)],
)  # fmt: skip
def test_check_answers__compares_scores(staged: Path, monkeypatch, said: list, is_right: bool) -> None:
    saying(monkeypatch, Finished(0, json.dumps([said]), ""))
    found = check_answers(staged, HUB, self_contained=False, tolerance=1e-4)
    assert found.is_right is is_right
    assert is_right or "resources/pictures/a.png" in found.finding


def test_check_answers__without_golden_ones(staged: Path) -> None:
    (staged / "resources" / "answers.json").write_text("{}")
    found = check_answers(staged, HUB, self_contained=False, tolerance=1e-4)
    assert not found.is_right and "stage the folder again" in found.finding


def test_check_front_matter__names_what_is_missing(staged: Path) -> None:
    (staged / "README.md").write_text(CARD.replace("license: mit\n", "").replace("[beit]", "[]"))
    found = check_front_matter(staged, HUB)
    assert not found.is_right and "lacks license, tags" in found.finding


def test_check_secrets__looks_into_weights_and_configurations(staged: Path) -> None:
    assert check_secrets(staged).is_right
    token = "hf_" + "a1B2" * 9
    torch.save({"state_dict": {"x": torch.ones(2)}, "meta": {"note": token}}, staged / "pytorch_model.pt")
    (staged / "configuration.json").write_text('{"train": {"hub_token": "x"}}')
    found = check_secrets(staged)
    assert not found.is_right and token not in found.finding
    assert "pytorch_model.pt: a Hugging Face token" in found.finding
    assert "configuration.json: train.hub_token" in found.finding and "revoke" in found.finding


def test_check_local_paths__in_texts_and_metadata(staged: Path) -> None:
    assert check_local_paths(staged).is_right
    torch.save({"state_dict": {"x": torch.ones(2)}, "meta": {"from": "/tmp/x/start.pth"}}, staged / "pytorch_model.pt")
    (staged / "README.md").write_text(f"{CARD}\ntrained on my pets")
    found = check_local_paths(staged, ["my pets"])
    assert not found.is_right
    assert "pytorch_model.pt: /tmp/x/start.pth" in found.finding and "README.md: my pets" in found.finding


def test_check_code__finds_pickles_that_could_run_it(staged: Path) -> None:
    assert check_code(staged, self_contained=False).is_right

    class Harm:
        def __reduce__(self):
            return print, ("run!",)

    torch.save({"state_dict": {"x": torch.ones(2)}, "meta": Harm()}, staged / "pytorch_model.pt")
    (staged / "resources" / "x.pkl").write_bytes(pickle.dumps(Harm()))
    found = check_code(staged, self_contained=False)
    assert not found.is_right
    assert "pytorch_model.pt" in found.finding and "print" in found.finding and "x.pkl" in found.finding


def test_check_code__lets_only_the_wrapper_pass_as_it_was_written(staged: Path) -> None:
    add_wrapper(staged, "timm")
    (staged / "configuration.json").write_text('{"allow_remote": true}')
    assert check_code(staged, self_contained=True).is_right
    loose = check_code(staged, self_contained=False)
    for name in ("ms_wrapper.py", "requirements.txt", "'allow_remote'"):
        assert name in loose.finding
    (staged / "configuration.json").write_text('{"allow_remote": true, "plugins": ["somebody-s"]}')
    found = check_code(staged, self_contained=True)
    assert not found.is_right and "'plugins'" in found.finding and "'allow_remote'" not in found.finding
    with (staged / "ms_wrapper.py").open("a") as file:
        file.write("print(1)\n")
    (staged / "config.py").write_text("model = 1\n")
    found = check_code(staged, self_contained=True)
    assert not found.is_right and "ms_wrapper.py" in found.finding and "config.py" in found.finding


def test_check_size__counts_every_file(staged: Path) -> None:
    size = sum(path.stat().st_size for path in staged.rglob("*") if path.is_file())
    assert check_size(staged).finding == f"4 files, {size:,} bytes"
