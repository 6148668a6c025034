"""Tensors divided among one process; tests/whole/test_two_processes.py has two of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from modelscope_beit.training.sharded_state import divided_like, whole, whole_values


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_whole_values__puts_together_what_is_divided(mesh: DeviceMesh) -> None:
    moment, step = torch.randn(4, 2), torch.tensor(3.0)
    values = {"exp_avg": distribute_tensor(moment, mesh, [Shard(0)]), "step": step, "rate": 0.5}
    kept = whole_values(values, keep=True)
    assert type(kept["exp_avg"]) is torch.Tensor and torch.equal(kept["exp_avg"], moment)
    assert kept["step"] is step and kept["rate"] == 0.5
    assert whole_values(values, keep=False) == {"step": step, "rate": 0.5}


def test_divided_like__is_divided_as_the_parameter(mesh: DeviceMesh) -> None:
    parameter = torch.nn.Parameter(distribute_tensor(torch.zeros(4, 2), mesh, [Shard(0)]))
    value = torch.randn(4, 2)
    divided = divided_like(value, parameter)
    assert isinstance(divided, DTensor) and divided.placements == (Shard(0),)
    assert torch.equal(whole(divided), value)


def test_divided_like__leaves_step_counts_and_undivided_parameters(mesh: DeviceMesh) -> None:
    parameter = torch.nn.Parameter(distribute_tensor(torch.zeros(4, 2), mesh, [Shard(0)]))
    step, value = torch.tensor(3.0), torch.randn(4, 2)
    assert divided_like(step, parameter) is step
    assert divided_like(value, torch.zeros(4, 2)) is value
    assert whole(value) is value
