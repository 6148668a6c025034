import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from modelscope_beit.errors import CheckpointError, UntrustedCodeError
from modelscope_beit.training.run_state import Progress, capture, read_state, restore, write_state

META = {"epoch": 1, "iter": 3}


def parts(kind: str = "AdamW") -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    named = dict(network.named_parameters())
    groups = [
        {"params": [named[name] for name in names], "names": names, "lr": rate}
        for names, rate in ((["1.weight", "0.weight"], 0.1), (["0.bias", "1.bias"], 0.2))
    ]
    return network, getattr(torch.optim, kind)(groups, lr=0.1)


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        network(torch.randn(3, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.mark.parametrize("kind", ["AdamW", "SGD", "Adagrad", "RMSprop"])
def test_restore__goes_on_as_if_nothing_had_happened(tmp_path: Path, accelerator: Accelerator, kind: str) -> None:
    network, optimizer = parts(kind)
    train(network, optimizer, 3)
    progress = Progress(3, chunks=2, best={"file": "best.pth", "score": 0.0})
    write_state(tmp_path / "state.pth", capture(accelerator, network, optimizer, None, progress), META)
    train(network, optimizer, 2)
    expected = [weight.detach().clone() for weight in network.parameters()]
    other, its_optimizer = parts(kind)
    torch.manual_seed(99)
    found = restore(read_state(tmp_path / "state.pth"), accelerator, other, its_optimizer, None)
    assert found == progress
    train(other, its_optimizer, 2)
    assert all(torch.equal(first, second) for first, second in zip(expected, other.parameters(), strict=True))


def test_restore__random_numbers_of_every_kind_go_on(tmp_path: Path, accelerator: Accelerator) -> None:
    def draw() -> tuple[Any, ...]:
        return torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random(), random.gauss(0, 1)

    random.gauss(0, 1)  # Python keeps the second of each pair for the next time.
    network, optimizer = parts()
    write_state(tmp_path / "state.pth", capture(accelerator, network, optimizer, None, Progress()), META)
    expected = draw()
    draw()
    restore(read_state(tmp_path / "state.pth"), accelerator, network, optimizer, None)
    assert draw() == expected


def test_restore__goes_on_from_a_file_of_the_stock_trainer(tmp_path: Path, accelerator: Accelerator) -> None:
    """mmcv has a group for each parameter, in the network's order, and numbers instead of names."""
    network, optimizer = parts()
    stock = torch.optim.AdamW([{"params": [weight], "lr": 0.1} for weight in network.parameters()])
    train(network, stock, 2)
    content = {"meta": {"epoch": 1, "iter": 2}, "state_dict": network.state_dict(), "optimizer": stock.state_dict()}
    torch.save(content, tmp_path / "epoch_1.pth")
    other, its_optimizer = parts()
    progress = restore(read_state(tmp_path / "epoch_1.pth"), accelerator, other, its_optimizer, None)
    assert progress.iterations == 2
    for mine, theirs in zip(other.parameters(), network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert torch.equal(its_optimizer.state[mine]["exp_avg"], stock.state[theirs]["exp_avg"])
        assert int(its_optimizer.state[mine]["step"]) == 2


def test_read_state__refuses_code(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "optimizer": Path("harmless")}, tmp_path / "state.pth")
    with pytest.raises(UntrustedCodeError):
        read_state(tmp_path / "state.pth")


@pytest.mark.parametrize(
    ("content", "said"), [({"w": torch.ones(1)}, "has no state_dict"), ({"state_dict": {}}, "load_from=")]
)
def test_read_state__says_what_is_missing(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    torch.save(content, tmp_path / "state.pth")
    with pytest.raises(CheckpointError, match=said):
        read_state(tmp_path / "state.pth")
