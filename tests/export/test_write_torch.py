import os

import numpy as np
import pytest
import torch
from torch import nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.export.graph import exported_program, graph_module
from modelscope_beit.export.runtimes import open_session
from modelscope_beit.export.write_torch import write_compiled, write_program, write_torchscript

IMAGES = np.random.default_rng(0).standard_normal((5, 3, 32, 32), np.float32)


@pytest.fixture(scope="module")
def expected(tiny_model) -> np.ndarray:
    with torch.inference_mode():
        return tiny_model.network(torch.from_numpy(IMAGES)).numpy()


def program(tiny_model):
    module = graph_module(tiny_model.network)
    return exported_program(module, torch.from_numpy(IMAGES[:2]), dynamic_size=False)


def test_write_torchscript__answers_the_same_for_another_batch(tiny_model, expected, tmp_path, recwarn) -> None:
    file = tmp_path / "model.ts"
    write_torchscript(graph_module(tiny_model.network), file, torch.from_numpy(IMAGES[:2]))
    assert np.abs(open_session("torch.jit", file)(IMAGES) - expected).max() < 1e-5
    assert not recwarn.list


def test_write_torchscript__says_what_cannot_be_recorded(tmp_path) -> None:
    class Talking(nn.Module):
        def forward(self, images: torch.Tensor) -> str:
            return "no tensor"

    with pytest.raises(SettingsError, match="cannot record this network"):
        write_torchscript(Talking(), tmp_path / "model.ts", torch.from_numpy(IMAGES))


def test_write_program__answers_the_same_for_another_batch(tiny_model, expected, tmp_path) -> None:
    write_program(program(tiny_model), tmp_path / "model.pt2")
    assert np.abs(open_session("torch.export", tmp_path / "model.pt2")(IMAGES) - expected).max() < 1e-5


@pytest.mark.skipif("BEIT_TEST_COMPILER" not in os.environ, reason="a minute of g++; set BEIT_TEST_COMPILER to run it")
def test_write_compiled__answers_the_same_for_another_batch(tiny_model, expected, tmp_path) -> None:
    write_compiled(program(tiny_model), tmp_path / "model.pt2")
    assert np.abs(open_session("torch.aotinductor", tmp_path / "model.pt2")(IMAGES) - expected).max() < 1e-5


def test_write_compiled__without_a_compiler(tiny_model, tmp_path, monkeypatch) -> None:
    """Whatever way the compiler fails in, here before anything is compiled."""
    import torch._inductor

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("g++ not found")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    with pytest.raises(SettingsError, match=r"g\+\+ not found.*--to torch-export does without one"):
        write_compiled(program(tiny_model), tmp_path / "model.pt2")
