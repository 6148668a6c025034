"""`beit serve` as a user has it: a real process, a real model, real pictures, against `pipeline` and `beit predict`."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks
from PIL import Image

import helpers
from modelscope_beit import __version__
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import BackboneSettings, ModelSettings
from served import Served, served, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc"),
]
WORDS = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of 28 million weights, and six pictures; the last one is broken."""
    folder = tmp_path_factory.mktemp("served")
    model = folder / "model"
    model.mkdir()
    backbone = BackboneSettings(image_size=(32, 32), patch_size=8, width=768, depth=4, num_heads=12, mlp_hidden=3072)
    network = build_classifier(ModelSettings(backbone, num_classes=5))
    weights = {"state_dict": network.state_dict(), "meta": {"CLASSES": list(helpers.TINY_CLASSES)}}
    torch.save(weights, model / "pytorch_model.pt")
    configuration = json.loads(json.dumps(helpers.TINY_CONFIGURATION))
    configuration["model"]["mm_model"]["backbone"]["arch"] = {
        "embed_dims": 768, "num_layers": 4, "num_heads": 12, "feedforward_channels": 3072
    }  # fmt: skip
    configuration["model"]["mm_model"]["head"]["in_channels"] = 768
    (model / "configuration.json").write_text(json.dumps(configuration))
    for number, picture in enumerate([*helpers.photographs(), *(Image.effect_noise((90, 70), 60) for _ in range(3))]):
        picture.convert("RGB").save(folder / f"{number}.jpg")
    (folder / "5.jpg").write_bytes((folder / "0.jpg").read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Served]:
    with served(place / "model", "--workers", "2", "--topk", "3") as running:
        yield running


@pytest.fixture(scope="module")
def expected(place: Path) -> list[dict[str, Any]]:
    """What the pipeline says of the five pictures that can be read."""
    classify = pipeline(Tasks.image_classification, model=str(place / "model"))
    return [classify(str(place / f"{number}.jpg"), topk=3) for number in range(5)]


def contents(place: Path) -> list[bytes]:
    return [(place / f"{number}.jpg").read_bytes() for number in range(6)]


def check(row: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert row["labels"] == list(wanted["labels"])
    np.testing.assert_allclose(row["scores"], wanted["scores"], atol=1e-5)


def test_serve__answers_every_way_to_ask_as_the_pipeline_does(
    server: Served, place: Path, expected: list[dict[str, Any]]
) -> None:
    pictures = contents(place)
    for content, wanted in zip(pictures, expected, strict=False):
        status, answer = server.predict(content)
        assert status == 200 and answer["version"] == __version__
        check(answer["predictions"][0], wanted)
    assert server.predict(pictures[5])[0] == 422
    images = [base64.b64encode(content).decode() for content in pictures]
    status, answer = server.ask("POST", "/predict", json.dumps({"images": images}).encode(), WORDS)
    assert status == 200
    for row, wanted in zip(answer["predictions"], expected, strict=False):
        check(row, wanted)
    assert "error" in answer["predictions"][5]


def test_serve__answers_as_the_command_predict_does(server: Served, place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelscope_beit", "predict", str(place / "model"), str(place / "0.jpg"), "--json"],
        capture_output=True, text=True, cwd=helpers.ROOT, check=True,
    )  # fmt: skip
    row = json.loads(done.stdout)
    answer = server.predict((place / "0.jpg").read_bytes(), "/predict?topk=5")[1]["predictions"][0]
    assert answer["labels"] == row["labels"]
    np.testing.assert_allclose(answer["scores"], row["scores"], atol=1e-5)


def test_serve__takes_what_curl_sends(server: Served, place: Path, expected: list[dict[str, Any]]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    address, picture = f"http://127.0.0.1:{server.port}/predict", place / "1.jpg"
    for options in (["--data-binary", f"@{picture}"], ["-F", f"image=@{picture}"]):
        done = subprocess.run(["curl", "-s", *options, address], capture_output=True, text=True, check=True)
        check(json.loads(done.stdout)["predictions"][0], expected[1])


def test_serve__lets_its_workers_share_the_weights(server: Served, place: Path) -> None:
    wait_until(lambda: len(server.workers()) == 2)
    weights = (place / "model" / "pytorch_model.pt").stat().st_size
    assert weights > 100 * 2**20
    for _ in range(8):
        server.predict((place / "0.jpg").read_bytes())
    for worker in server.workers():
        rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
        kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.M)}
        # Everything that it does not share: its own heap, the pictures of a batch, activations.
        own = kib["Private_Dirty"] + kib["Private_Clean"]
        assert own * 1024 < weights, kib
        assert kib["Pss"] < 0.75 * kib["Rss"]


def test_serve__gives_right_answers_while_workers_are_killed(
    server: Served, place: Path, expected: list[dict[str, Any]]
) -> None:
    pictures, wrong = contents(place), []

    def ask(client: int) -> None:
        for turn in range(12):
            number = (client + turn) % 5
            try:
                status, answer = server.predict(pictures[number])
                assert status == 200
                check(answer["predictions"][0], expected[number])
            except (AssertionError, OSError) as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    killed = 0
    while any(thread.is_alive() for thread in threads):
        threads[0].join(0.3)
        if killed < 3 and (workers := server.workers()):
            os.kill(workers[killed % len(workers)], signal.SIGKILL)
            killed += 1
    assert wrong == []
    assert killed == 3
    wait_until(lambda: len(server.workers()) == 2)


def test_serve__guards_itself(place: Path) -> None:
    picture = (place / "0.jpg").read_bytes()
    options = ("--max-bytes", "200000", "--max-pixels", "100000", "--max-pictures", "2")
    with served("embedded", *options, environment={"BEIT_SERVE_TOKEN": "s3cret"}) as running:
        owner = {"Authorization": "Bearer s3cret"}
        assert running.predict(picture)[0] == 401
        for body, kind, status in (
            (b"x" * 200_001, "image/jpeg", 413),
            (picture, "image/jpeg", 413),  # 640 x 427 pixels are too many.
            ((place / "2.jpg").read_bytes(), "image/jpeg", 200),
            (b'{"images": ["http://127.0.0.1/"]}', "application/json", 403),
            (b'{"images": ["YQ==", "YQ==", "YQ=="]}', "application/json", 413),
            (b"text", "text/plain", 415),
        ):
            assert running.ask("POST", "/predict", body, {**owner, "Content-Type": kind})[0] == status, kind
        command_line = Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
        assert b"s3cret" not in command_line
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["no_such_folder"], "no model folder no_such_folder"),
        (["embedded", "--workers", "0"], "workers must be at least 1"),
        (["embedded", "--token-file", "no_such_file"], "must be a text file with the token"),
        (["embedded", "--host", "999.1.1.1"], "cannot listen"),
    ],
)
def test_serve__tells_what_is_wrong_and_returns_2(options: list[str], says: str) -> None:
    command = [sys.executable, "-m", "modelscope_beit", "serve", *options, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=helpers.ROOT, timeout=120)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
