"""From a run to a hub, and what strangers then open: by programs of theirs, with and without our import.

Every program runs in an interpreter of its own, which takes seconds; where it has no hub, asking for one fails at once.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import hub_server
import published_runs
from hub_server import PRIVATE, TOKEN, Hub
from modelscope_beit.__main__ import main
from modelscope_beit.publishing import usage_code
from modelscope_beit.publishing.fresh_process import Finished

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


@dataclass(frozen=True)
class Published:
    """What `beit publish` left on this machine and on the hub. said: all that it printed; answer: its JSON."""

    home: Path
    folder: Path
    hub: Hub
    said: str
    answer: dict[str, Any]


def run_program(code: str, *arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    nowhere = {"MODELSCOPE_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=os.environ | nowhere, capture_output=True, text=True)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_runs.write_run(tmp_path_factory.mktemp("work of mine") / "run")


@pytest.fixture(scope="module")
def published(run: Path) -> Published:
    """Published once for all: self-contained, by the command as a person types it, with the real client."""
    home = run.parent / "publishing"
    home.mkdir()
    command = [sys.executable, "-m", "modelscope_beit", "publish", str(run), "modelscope:me/pets", "--self-contained"]
    with hub_server.running_hub() as hub:
        environment = os.environ | {
            "MODELSCOPE_ENDPOINT": hub.address,
            "MODELSCOPE_API_TOKEN": TOKEN,
            "MODELSCOPE_HOME": str(home / "home"),
        }
        done = subprocess.run(
            [*command, "--tag", "v1.0", "--json"], cwd=home, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return Published(home, home / answer["folder"], hub, done.stdout + done.stderr, answer)


def first_answer(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "resources" / "answers.json").read_text(encoding="utf-8"))
    answer: dict[str, Any] = content["answers"][0]
    return answer


def test_publish__stages_checks_sends_and_tags(published: Published) -> None:
    answer, hub = published.answer, published.hub
    repository = hub.repositories["me/pets"]
    staged = {path: (published.folder / path).read_bytes() for path in answer["files"]}
    assert repository.branches["master"] == staged
    assert repository.tags == {"v1.0": staged}
    assert repository.visibility == PRIVATE
    assert set(answer["uploaded"]["files_new"]) == answer["files"].keys()
    assert answer["uploaded"]["url"] == f"{hub.address}/models/me/pets"


def test_publish__says_and_writes_the_token_nowhere(published: Published) -> None:
    assert TOKEN not in published.said
    assert all(TOKEN.encode() not in path.read_bytes() for path in published.home.rglob("*") if path.is_file())


def test_publish__self_contained_opens_without_our_import_once_it_is_trusted(
    published: Published, tmp_path: Path
) -> None:
    answer = first_answer(published.folder)
    done = run_program(WITHOUT_IMPORT, published.folder, published.folder / answer["picture"], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    refusal, labels, scores = json.loads(done.stdout.splitlines()[-1])
    assert labels == answer["labels"] and scores == pytest.approx(answer["scores"], abs=1e-5)
    # The host's own words.
    assert "Detected plugins or allow_remote field" in refusal and "pass trust_remote_code=True" in refusal


def test_publish__the_card_shows_what_its_code_printed(published: Published) -> None:
    card = (published.folder / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["tasks"] == ["image-classification"]
    answer = first_answer(published.folder)
    printed = "\n".join(
        f"{score:.4f}  {label}" for label, score in zip(answer["labels"], answer["scores"], strict=True)
    )
    assert card.count(f"```\n{printed}\n```") == 2
    assert 'pipeline(Tasks.image_classification, model="me/pets", trust_remote_code=True)' in card


def test_publish__for_hugging_face_by_transformers_own_pipeline(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_here(code: str, *, folder: Path) -> Finished:
        """The code of the card runs in this process, which has torch already; the golden answers in a new one."""
        printed, place = io.StringIO(), Path.cwd()
        monkeypatch.chdir(folder)
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "card", "exec"), {"__name__": "__main__"})
        # That folder is removed soon.
        monkeypatch.chdir(place)
        return Finished(0, printed.getvalue(), "")

    monkeypatch.setattr(usage_code, "run_python", run_here)
    folder = tmp_path / "hf"
    command = ["publish", str(run), "huggingface:me/pets", "--dry-run", "--stage", str(folder), "--json"]
    assert main(command) == 0
    content = json.loads(capsys.readouterr().out)
    findings = {check["name"]: check["finding"] for check in content["checks"]}
    assert "5 pictures answered by pipeline() in a new interpreter" in findings["golden answers"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "modelscope" not in card.split("```python")[1].split("```")[0]
    assert findings["code of the card"].endswith("printed 3 lines")
