"""What a wheel of the package holds and asks for."""

import email
import email.message
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import helpers


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of what git tracks, built away from the checkout so that it leaves nothing there."""
    folder = tmp_path_factory.mktemp("distribution")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=helpers.ROOT, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("not a git checkout, so there is no list of what belongs to the package")
    for name in filter(None, listing.stdout.split("\0")):
        source = helpers.ROOT / name
        if source.is_file() and not name.startswith("tests/"):
            target = folder / "sources" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    finished = subprocess.run([*command, "-w", folder, folder / "sources"], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def requirements(metadata: email.message.Message, python: str, extra: str = "") -> set[str]:
    """Returns the packages that an installation asks for."""
    wanted = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    environment = {"python_version": python, "extra": extra}
    return {wish.name for wish in wanted if wish.marker is None or wish.marker.evaluate(environment)}


def test_wheel__holds_code_and_data_only(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    expected = {
        path.relative_to(helpers.ROOT).as_posix()
        for folder in ("labels", "embedded")
        for path in (helpers.PACKAGE / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert len(expected) > 4
    assert expected <= set(names)
    assert {"modelscope_beit/py.typed", "modelscope_beit/__main__.py"} <= set(names)
    assert {Path(name).parts[0].split("-")[0] for name in names} == {"modelscope_beit"}


def test_wheel__is_small(wheel: zipfile.ZipFile) -> None:
    assert sum(info.file_size for info in wheel.infolist()) < 8_000_000


def test_plain_install__needs_nothing_to_build(metadata: email.message.Message) -> None:
    plain = requirements(metadata, "3.11")
    assert plain >= {"torch", "torchvision", "modelscope", "pillow", "safetensors"}
    assert not plain & {"mmcv", "mmcls", "timm", "gradio", "pytest"}


@pytest.mark.parametrize(("python", "expected"), [("3.12", {"mmcv", "mmcls"}), ("3.13", {"opencv-python-headless"})])
def test_openmmlab__is_asked_for_where_it_builds(
    metadata: email.message.Message, python: str, expected: set[str]
) -> None:
    assert requirements(metadata, python, "openmmlab") - requirements(metadata, python) == expected


def test_metadata__states_licence_version_and_command(metadata: email.message.Message, wheel: zipfile.ZipFile) -> None:
    from modelscope_beit import __version__

    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.10"
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "beit = modelscope_beit.__main__:main" in wheel.read(entry_points).decode()
