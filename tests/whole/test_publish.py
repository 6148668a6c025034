"""`beit publish`, whole: from a model folder to a hub, with the real client, in processes as a person starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hub_server
from hub_server import PRIVATE, TOKEN


def test_publish__stages_checks_sends_and_tags(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelscope_beit", "publish", "embedded", "modelscope:me/garments"]
    with hub_server.running_hub() as hub:
        environment = os.environ | {
            "MODELSCOPE_ENDPOINT": hub.address,
            "MODELSCOPE_API_TOKEN": TOKEN,
            "MODELSCOPE_HOME": str(tmp_path / "home"),
        }
        done = subprocess.run(
            [*command, "--tag", "v1.0", "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    answer, repository = json.loads(done.stdout), hub.repositories["me/garments"]
    staged = tmp_path / answer["folder"]
    assert {path: (staged / path).read_bytes() for path in answer["files"]} == repository.branches["master"]
    assert repository.tags == {"v1.0": repository.branches["master"]}
    assert repository.visibility == PRIVATE
    assert set(answer["uploaded"]["files_new"]) == answer["files"].keys()
    assert answer["uploaded"]["url"] == f"{hub.address}/models/me/garments"
    assert all(TOKEN.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
