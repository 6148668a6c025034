"""Replicas of a real Ray Serve on this machine, one of them killed."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from modelscope_beit.errors import MissingPackageError
from modelscope_beit.serving.ray_engine import serve_on_ray
from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.settings.serving import ServingSettings
from served import Served, served


def replicas() -> list[int]:
    """Returns the processes that Ray calls replicas of ours."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and b"ServeReplica:beit" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            pass  # It has just ended.
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="replicas are found in /proc")
def test_serve_on_ray__answers_as_a_local_server_does_though_a_replica_is_killed(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    pytest.importorskip("ray.serve", reason="the extra ray is not installed")
    contents = [path.read_bytes() for path in ten_images]
    with served(tiny_model_folder) as local:
        expected = [local.predict(content) for content in contents]
    answers: dict[int, object] = {}

    def ask(running: Served, client: int) -> None:
        for turn in range(client, 40, 4):
            answers[turn] = running.predict(contents[turn % 10])

    with served(tiny_model_folder, "--engine", "ray", "--workers", "2", "--timeout", "90") as running:
        assert running.predict(b"no picture")[0] == 422
        threads = [threading.Thread(target=ask, args=(running, client)) for client in range(4)]
        for thread in threads:
            thread.start()
        os.kill(replicas()[0], signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert running.stop() == 0
    for turn, (status, answer) in answers.items():  # type: ignore[misc]
        assert status == 200
        (row,), (wanted,) = answer["predictions"], expected[turn % 10][1]["predictions"]
        assert row["labels"] == wanted["labels"]
        assert row["scores"] == pytest.approx(wanted["scores"], abs=1e-5)
        assert answer["model"] == expected[0][1]["model"]


def test_serve_on_ray__names_the_extra_that_is_missing(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"modelscope-beit\[ray\]"):
        serve_on_ray(ServedModel(tiny_model_folder), ServingSettings(), lambda host, port: None)
