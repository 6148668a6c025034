"""From a run to a folder that a hub can hold, opened by programs of strangers, with and without our import.

Every program runs in an interpreter of its own; where it has no hub, asking for one fails at once.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import published_runs
from modelscope_beit.__main__ import main

# What a person writes who has installed the package and does not import it; before, what happens without trust.
WITHOUT_IMPORT = """
import json, sys
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks
try:
    pipeline(Tasks.image_classification, model=sys.argv[1])
except RuntimeError as error:
    refusal = str(error)
assert not any(name.startswith("modelscope_beit") for name in sys.modules)
classify = pipeline(Tasks.image_classification, model=sys.argv[1], trust_remote_code=True)
assert type(classify).__module__ == "modelscope_beit.plugin.pipeline"
result = classify(sys.argv[2])
print()
print(json.dumps([refusal, result["labels"], [score.item() for score in result["scores"]]]))
"""


def run_program(code: str, *arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    nowhere = {"MODELSCOPE_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=os.environ | nowhere, capture_output=True, text=True)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_runs.write_run(tmp_path_factory.mktemp("work of mine") / "run")


@pytest.fixture(scope="module")
def self_contained(run: Path) -> Path:
    folder = run.parent / "self-contained"
    command = ["publish", str(run), "modelscope:me/pets", "--self-contained", "--dry-run", "--stage", str(folder)]
    assert main(command) == 0
    return folder


def test_publish__self_contained_opens_without_our_import_once_it_is_trusted(
    self_contained: Path, tmp_path: Path
) -> None:
    answer = json.loads((self_contained / "resources" / "answers.json").read_text(encoding="utf-8"))["answers"][0]
    done = run_program(WITHOUT_IMPORT, self_contained, self_contained / answer["picture"], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    refusal, labels, scores = json.loads(done.stdout.splitlines()[-1])
    assert labels == answer["labels"] and scores == pytest.approx(answer["scores"], abs=1e-5)
    # The host's own words.
    assert "Detected plugins or allow_remote field" in refusal and "pass trust_remote_code=True" in refusal


def test_publish__the_card_shows_what_its_code_printed(self_contained: Path) -> None:
    card = (self_contained / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["tasks"] == ["image-classification"]
    answer = json.loads((self_contained / "resources" / "answers.json").read_text(encoding="utf-8"))["answers"][0]
    printed = "\n".join(
        f"{score:.4f}  {label}" for label, score in zip(answer["labels"], answer["scores"], strict=True)
    )
    assert card.count(f"```\n{printed}\n```") == 2
    assert 'pipeline(Tasks.image_classification, model="me/pets", trust_remote_code=True)' in card


def test_publish__for_hugging_face_by_transformers_own_pipeline(run: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "hf"
    command = ["publish", str(run), "huggingface:me/pets", "--dry-run", "--stage", str(folder), "--json"]
    assert main(command) == 0
    content = json.loads(capsys.readouterr().out)
    findings = {check["name"]: check["finding"] for check in content["checks"]}
    assert "5 pictures answered by pipeline() in a new interpreter" in findings["golden answers"]
    assert "modelscope" not in (folder / "README.md").read_text(encoding="utf-8").split("```python")[1].split("```")[0]
