"""The real `modelscope server`, started as the host's manual says, with a folder of ours."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import fastapi
import numpy as np
import pytest
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks
from starlette.testclient import TestClient

import helpers
from modelscope_beit.plugin import host_server

HOST = (sys.executable, "-c", "import sys; from modelscope_hub.cli.main import run_cmd; sys.exit(run_cmd())")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which the entry point is known, though setup.py may have got it after the installation."""
    source = (helpers.ROOT / "setup.py").read_text(encoding="utf-8")
    (point,) = re.findall(r'"modelscope_hub.cli_plugins": \["(beit = \S+)"\]', source)
    path = [str(helpers.ROOT)]
    if not any(one.name == "beit" for one in entry_points(group="modelscope_hub.cli_plugins")):
        written = tmp_path / "site" / "written_by_a_test-1.dist-info"
        written.mkdir(parents=True)
        (written / "METADATA").write_text("Metadata-Version: 2.1\nName: written-by-a-test\nVersion: 1\n")
        (written / "entry_points.txt").write_text(f"[modelscope_hub.cli_plugins]\n{point}\n")
        path.append(str(written.parent))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


@contextmanager
def host_server_of(model: Path, environment: dict[str, str]) -> Iterator[str]:
    """Gives the address of `modelscope server` for a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--model_id", str(model), "--revision", "master", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*HOST, "server", *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30).close()
                break
            except urllib.error.URLError:
                assert process.poll() is None and time.monotonic() < end, process.communicate(timeout=30)[0]
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def ask(address: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: dict[str, Any] = json.load(answer)
        return content


@pytest.mark.slow
def test_modelscope_server__answers_for_a_folder_of_ours(
    tiny_model_folder: Path, ten_images: list[Path], environment: dict[str, str]
) -> None:
    expected = pipeline(Tasks.image_classification, model=str(tiny_model_folder))(str(ten_images[0]), topk=3)
    encoded = base64.b64encode(ten_images[0].read_bytes()).decode()
    with host_server_of(tiny_model_folder, environment) as address:
        answer = ask(f"{address}/call", {"input": {"image": encoded}, "parameters": {"topk": 3}})
    assert answer["labels"] == list(expected["labels"])
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-6)


def test_start_by_lifespan__runs_handlers_at_the_start_and_at_the_end() -> None:
    happened: list[str] = []

    def get_app(args: Namespace) -> Any:
        from fastapi import FastAPI

        application = FastAPI(title="stock", debug=True)
        application.add_event_handler("startup", lambda: happened.append(f"start {args.model_id}"))  # type: ignore[attr-defined]
        application.add_event_handler("shutdown", lambda: happened.append("end"))  # type: ignore[attr-defined]
        return application

    stock, module = fastapi.FastAPI, ModuleType("server")
    vars(module)["get_app"] = get_app
    host_server._start_by_lifespan(module)
    application = module.get_app(Namespace(model_id="m"))
    assert fastapi.FastAPI is stock
    assert application.title == "stock"
    with TestClient(application):
        assert happened == ["start m"]
    assert happened == ["start m", "end"]


def test_take_folders__leaves_models_of_the_hub_to_the_host(tiny_model_folder: Path) -> None:
    from modelscope.utils import input_output

    asked: list[Any] = []
    module = ModuleType("input_output")
    vars(module).update(
        Config=input_output.Config,
        ModelFile=input_output.ModelFile,
        pipeline=lambda **keywords: keywords,
        create_pipeline=lambda *arguments: asked.append(arguments),
    )
    host_server._take_folders(module)
    assert module.create_pipeline("owner/name", "v1") is None
    assert asked == [("owner/name", "v1", True)]
    made = module.create_pipeline(str(tiny_model_folder), "v1", True)
    assert made == {"task": "image-classification", "model": str(tiny_model_folder)}
