"""The environment beside mmcv's collect_env and pip's metadata."""

import importlib.metadata
import re

import pytest
import torch

from modelscope_beit import __version__
from modelscope_beit.training.environment import environment, environment_info, versions


def test_environment__agrees_with_mmcv():
    mmcv_utils = pytest.importorskip("mmcv.utils", reason="mmcv does not build on this Python")
    theirs, ours = mmcv_utils.collect_env(), environment()
    shared = [name for name in theirs if name in ours]
    assert shared == [name for name in ours if name in theirs], "another order"
    assert {"sys.platform", "Python", "CUDA available", "PyTorch", "TorchVision"} <= set(shared)
    for name in shared:
        # The metadata do not say for which CUDA torchvision was built.
        expected = str(theirs[name]).strip()
        assert ours[name] == (expected.split("+")[0] if name == "TorchVision" else expected), name


def test_environment_info__is_lines_of_names_and_values():
    text = environment_info()
    assert f"\nPyTorch: {torch.__version__}\n" in text
    assert f"\nmodelscope-beit: {__version__}\n" in text
    assert text == text.strip()


def test_environment__groups_gpus_as_mmcv_does(monkeypatch):
    names = ["NVIDIA A", "NVIDIA B", "NVIDIA A"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92600)
    found = environment()
    assert (found["GPU 0,2"], found["GPU 1"]) == ("NVIDIA A", "NVIDIA B")
    assert found["CUDA"] == str(torch.version.cuda)


def test_versions__are_those_of_the_metadata(monkeypatch):
    found = versions()
    assert found["modelscope-beit"] == __version__
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert all(re.match(r"\d+\.\d+", version) for version in found.values())

    def none_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none_installed)
    assert list(versions()) == ["modelscope-beit", "torch"]
