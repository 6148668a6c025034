"""The server of one process, with a signal to itself: it needs a process whose main thread it has."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.serving.threads import serve_with_a_thread
from modelscope_beit.settings.serving import ServingSettings
from served import started

PROGRAM = """
import sys
from pathlib import Path
from modelscope_beit.serving.opening import own_work
from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.serving.threads import serve_with_a_thread
from modelscope_beit.settings.serving import ServingSettings
settings, model = ServingSettings(port=0), ServedModel(Path(sys.argv[1]))
serve_with_a_thread(
    settings,
    lambda connection: own_work(model, settings, connection),
    lambda host, port: print(f"http://{host}:{port};", file=sys.stderr, flush=True),
)
"""


def test_serve__answers_and_ends_in_one_process(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    environment = {"PYTHONPATH": str(helpers.ROOT)}
    with started([sys.executable, "-c", PROGRAM, str(tiny_model_folder)], environment) as running:
        status, answer = running.predict(ten_images[0].read_bytes())
        assert status == 200
        assert len(answer["predictions"][0]["labels"]) == 5
        assert running.predict(b"no picture")[0] == 422
        assert Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text() == ""
        assert running.stop(signal.SIGTERM) == 0


def test_serve__ends_with_the_error_of_a_model_that_cannot_be_opened(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, cwd=helpers.ROOT, timeout=120
    )
    assert done.returncode == 1
    assert "not a model folder" in done.stderr


def test_serve__refuses_several_workers() -> None:
    with pytest.raises(SettingsError, match="one worker, not by 2"):
        serve_with_a_thread(ServingSettings(port=0, workers=2), lambda _: None, lambda host, port: None)
