"""Fixtures for every folder of tests, and a machine without a network."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Before torch is imported: the tests run side by side, one process per core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from PIL import Image

import helpers
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.settings.model import BackboneSettings, ModelSettings

LOOPBACK = ("127.", "::1", "localhost")


def pytest_configure(config: pytest.Config) -> None:
    """Lets the first process have yapf write its grammar, before others begin: who reads half of the file fails."""
    if not hasattr(config, "workerinput") and find_spec("yapf"):
        # mmcv brings it.
        import_module("yapf")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Makes this process an offline machine: only loopback and unix sockets connect, only loopback names resolve."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise OSError(errno.ENETUNREACH, f"Network is unreachable: tests have none (asked for {address})")
        return connect(self, address)

    def resolve_locally(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if host is not None and not str(host).startswith(LOOPBACK):
            raise socket.gaierror(socket.EAI_NONAME, f"Name not known: tests have no network (asked for {host})")
        return resolve(host, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_locally)
        patch.setattr(socket, "getaddrinfo", resolve_locally)
        yield


@pytest.fixture
def tiny_settings() -> ModelSettings:
    """Two blocks, 32 channels, five classes, pictures of 32 x 32 in patches of 8: a forward pass takes milliseconds."""
    return ModelSettings(
        BackboneSettings(image_size=(32, 32), patch_size=8, width=32, depth=2, num_heads=2, mlp_hidden=64),
        num_classes=5,
    )


@pytest.fixture
def tiny_classifier(tiny_settings: ModelSettings) -> BeitClassifier:
    """The tiny network in eval mode, no weight at its neutral value (fresh tables are zero and would hide mistakes)."""
    return helpers.with_random_weights(build_classifier(tiny_settings)).eval()


@pytest.fixture
def tiny_model_folder(tmp_path: Path, tiny_classifier: BeitClassifier) -> Path:
    """A folder in the hub's layout around `tiny_classifier`, written by hand, not by the package."""
    folder = tmp_path / "tiny_model"
    folder.mkdir()
    weights = {"state_dict": tiny_classifier.state_dict(), "meta": {"CLASSES": list(helpers.TINY_CLASSES)}}
    torch.save(weights, folder / "pytorch_model.pt")
    (folder / "configuration.json").write_text(json.dumps(helpers.TINY_CONFIGURATION, indent=2))
    return folder


@pytest.fixture(scope="session")
def photographs() -> tuple[Image.Image, ...]:
    """Two real photographs, 640 x 427 pixels, RGB."""
    return helpers.photographs()


@pytest.fixture
def ten_images(tmp_path: Path, photographs: tuple[Image.Image, ...]) -> list[Path]:
    """Ten JPEG files of different sizes, cut out of real photographs; wide, tall and square ones."""
    folder = tmp_path / "images"
    folder.mkdir()
    sizes = [
        (320, 213),
        (213, 320),
        (64, 64),
        (400, 60),
        (60, 400),
        (225, 225),
        (33, 47),
        (256, 256),
        (500, 400),
        (97, 31),
    ]
    paths = []
    for number, (width, height) in enumerate(sizes):
        picture = photographs[number % 2].crop((10 * number, 2 * number, 10 * number + width, 2 * number + height))
        paths.append(folder / f"image_{number}.jpg")
        picture.save(paths[-1], quality=95)
    return paths
