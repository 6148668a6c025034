"""Weights for networks of others: everything fits by name and shape, or it is told."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from modelscope_beit.checkpoints.exact import load_exactly
from modelscope_beit.errors import CheckpointError


class Counting(nn.Module):
    """Stands for SeesawLoss."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("cum_samples", torch.zeros(num_classes))


def network(num_classes: int = 3, *, counts: bool = False) -> nn.Module:
    """A network with batch norm and a head of two layers, as mmcls names them."""
    head = nn.ModuleDict({"hidden": nn.Linear(4, 4), "fc": nn.Linear(4, num_classes)})
    if counts:
        head["compute_loss"] = Counting(num_classes)
    made = nn.ModuleDict({"backbone": nn.ModuleDict({"bn": nn.BatchNorm1d(4)}), "head": head})
    for tensor in made.state_dict().values():
        tensor.copy_(torch.randint(1, 9, tensor.shape))
    return made


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A file of the network with three classes, and what is in it."""
    tensors = network().state_dict()
    torch.save({"state_dict": tensors}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth", tensors


def test_load_exactly__every_tensor(saved: tuple[Path, dict[str, Tensor]]) -> None:
    path, tensors = saved
    target = network()
    loaded = load_exactly(target, path)
    assert loaded.num_mapped == len(tensors) and loaded.initialised == ()
    for key, tensor in target.state_dict().items():
        assert torch.equal(tensor, tensors[key]) and tensor.dtype == tensors[key].dtype
    assert target.state_dict()["backbone.bn.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("has_head", [True, False])
def test_load_exactly__a_head_for_other_classes_is_new_as_a_whole(tmp_path: Path, has_head: bool) -> None:
    tensors = network(5).state_dict()
    kept = {key: tensor for key, tensor in tensors.items() if has_head or not key.startswith("head.")}
    torch.save(kept, tmp_path / "weights.pth")
    target = network(3)
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    loaded = load_exactly(target, tmp_path / "weights.pth", new_head="head.")
    assert loaded.initialised == ("head.hidden.weight", "head.hidden.bias", "head.fc.weight", "head.fc.bias")
    assert loaded.num_mapped == 5
    for key, tensor in target.state_dict().items():
        assert torch.equal(tensor, (before if key.startswith("head.") else tensors)[key])


def test_load_exactly__only_a_part_of_the_head_may_be_for_other_classes(tmp_path: Path) -> None:
    torch.save(network(5).state_dict(), tmp_path / "weights.pth")
    loaded = load_exactly(network(3), tmp_path / "weights.pth", new_head="head.fc.")
    assert loaded.initialised == ("head.fc.weight", "head.fc.bias")


def test_load_exactly__a_head_that_fits_is_kept(saved: tuple[Path, dict[str, Tensor]]) -> None:
    target = network()
    assert load_exactly(target, saved[0], new_head="head.").initialised == ()
    assert torch.equal(target.state_dict()["head.fc.weight"], saved[1]["head.fc.weight"])


@pytest.mark.parametrize(("in_file", "in_network"), [(None, True), (3, False), (5, True)])
def test_load_exactly__what_a_loss_has_counted_is_no_weight(
    tmp_path: Path, in_file: int | None, in_network: bool
) -> None:
    """A loss may come, go, or count other classes: SeesawLoss in mmcls."""
    tensors = network(3).state_dict()
    if in_file:
        tensors["head.compute_loss.cum_samples"] = torch.ones(in_file)
    torch.save(tensors, tmp_path / "weights.pth")
    for new_head in (None, "head."):
        target = network(3, counts=in_network)
        loaded = load_exactly(target, tmp_path / "weights.pth", new_head=new_head)
        assert loaded.initialised == () and loaded.num_mapped == 9
        assert torch.equal(target.state_dict()["head.fc.weight"], tensors["head.fc.weight"])


def test_load_exactly__what_it_has_counted_is_taken_over(tmp_path: Path) -> None:
    source, target = network(counts=True), network(counts=True)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    load_exactly(target, tmp_path / "weights.pth")
    key = "head.compute_loss.cum_samples"
    assert torch.equal(target.state_dict()[key], source.state_dict()[key])


def test_load_exactly__tells_all_that_does_not_fit(saved: tuple[Path, dict[str, Tensor]]) -> None:
    path, tensors = saved
    del tensors["backbone.bn.weight"]
    tensors |= {f"neck.{number}": torch.zeros(1) for number in range(10)}
    tensors["backbone.bn.bias"] = torch.zeros(7)
    torch.save(tensors, path)
    with pytest.raises(CheckpointError) as caught:
        load_exactly(network(5), path)
    lines = str(caught.value).splitlines()
    assert str(path) in lines[0]
    assert lines[1] == "- missing: backbone.bn.weight"
    assert lines[2].startswith("- unexpected: neck.0, neck.1") and lines[2].endswith("neck.7 and 2 more")
    assert (
        "backbone.bn.bias is (7,), expected (4,)" in lines[3]
        and "head.fc.weight is (3, 4), expected (5, 4)" in lines[3]
    )
