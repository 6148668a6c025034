"""BigTransfer from one end to the other: timm's folder, our model folder, fine-tuning by its rule, prediction.

The oracle is timm: its network, its transform, and the network that it makes of what was trained.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import class_folders
import helpers
import training_jobs
from modelscope_beit.__main__ import main
from modelscope_beit.model_folder.opening import open_model
from timm_networks import CLASSES, timm_network, write_timm_folder

timm = pytest.importorskip("timm", reason="the networks of these tests are timm's")

QUICK = ["--set", "workers=0", "--set", "train.log_config.interval=1"]


@pytest.fixture(scope="module")
def bit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder made of timm's."""
    folder = tmp_path_factory.mktemp("bit")
    write_timm_folder(timm_network(), folder / "theirs")
    assert main(["convert", str(folder / "theirs"), str(folder / "ours")]) == 0
    return folder / "ours"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of photographs, 80 pixels a side."""
    return class_folders.write_parts(tmp_path_factory.mktemp("data"), num_train=12, num_validation=6)


def weights_of(folder: Path) -> dict[str, Any]:
    return dict(open_model(folder).network.state_dict())


def test_bit__trained_by_its_rule_reopens_and_goes_back_to_timm(
    bit: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, back = tmp_path / "run", tmp_path / "back"
    steps = ["--set", "iterations=4", "--set", "lr=0.1"]
    assert main(["train", str(bit), str(data), "--recipe", "bit", "--out", str(run), *steps, *QUICK]) == 0
    lines = [json.loads(line) for line in next(run.glob("*.log.json")).read_text().splitlines()[1:]]
    losses = [line["loss"] for line in lines if line["mode"] == "train"]
    # A head of zeros: the loss begins at log K, whatever the backbone is.
    assert losses[0] == pytest.approx(torch.log(torch.tensor(3.0)).item(), abs=1e-5)
    assert len(losses) == 4
    assert (run / "curves.png").stat().st_size > 1000
    trained = open_model(run / "output")
    assert trained.class_names == tuple(sorted(training_jobs.CLASSES))
    # Every class has been learnt of; in bfloat16 a sum of gradients may be zero for a feature or two.
    assert (weights_of(run / "output")["head.fc.weight"] != 0).float().mean(dim=1).min() > 0.8
    assert main(["convert", str(run / "output"), str(back), "--to", "timm"]) == 0
    theirs = timm.create_model(f"local-dir:{back}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=theirs))
    with torch.no_grad():
        pixels = transform(helpers.photographs()[0])[None]
        torch.testing.assert_close(trained.network(pixels), theirs(pixels), atol=1e-4, rtol=0)
    capsys.readouterr()


def test_bit__predicts_what_timm_predicts(bit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = timm.create_model(f"local-dir:{bit.parent / 'theirs'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=theirs))
    picture = helpers.photographs()[0]
    picture.save(tmp_path / "picture.png")
    assert main(["predict", str(bit), str(tmp_path / "picture.png"), "--topk", "3", "--json"]) == 0
    with torch.no_grad():
        expected = theirs(transform(picture)[None])[0].softmax(0)
    said = json.loads(capsys.readouterr().out)
    # Rounded as they are printed; and a picture's last bit shows in the logits.
    assert said["scores"] == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-4)
    assert said["labels"] == [CLASSES[index] for index in expected.argsort(descending=True)]


def test_bit__stops_early_with_the_best_weights(
    bit: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = {
        "iterations": 20,
        "train.evaluation.interval": 1,
        "train.early_stopping.patience": 2,
        # Nothing is learnt, so the first evaluation stays the best.
        "lr": 1e-12,
    }
    given = [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    assert main(["train", str(bit), str(data), "--recipe", "bit", "--out", str(run), *given, *QUICK]) == 0
    best = torch.load(next(run.glob("best_*.pth")), weights_only=True)
    assert best["meta"]["iter"] == 1
    written = weights_of(run / "output")
    assert all(torch.equal(tensor, written[key]) for key, tensor in best["state_dict"].items())
    capsys.readouterr()


def test_bit__resumed_runs_end_with_the_same_weights(
    bit: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    # Paths are dropped at random, and the rate does not depend on the length of the run.
    options = ["--batch-size", "8", "--no-validate", "--set", "drop_path=0.3", "--set", "train.lr_config.policy=fixed"]
    assert main(["train", str(bit), str(data), "--out", str(whole), "--epochs", "2", *options, *QUICK]) == 0
    assert main(["train", str(bit), str(data), "--out", str(halves), "--epochs", "1", *options, *QUICK]) == 0
    one = weights_of(halves / "output")
    assert main(["resume", str(halves), "--set", "epochs=2"]) == 0
    expected, found = weights_of(whole / "output"), weights_of(halves / "output")
    assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
    assert any(not torch.equal(tensor, found[key]) for key, tensor in one.items())
    capsys.readouterr()
