"""From pre-training to a classifier with no step in between: `beit pretrain`, then `beit train` and `beit convert`."""

import json
import os
from pathlib import Path

import pytest
import torch

from masked_runs import write_crops
from modelscope_beit.__main__ import main
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.model_folder.networks import load_start_network
from modelscope_beit.model_folder.opening import open_model, read_folder_settings
from modelscope_beit.pretraining.tokenizer_files import write_tokenizer
from tiny_tokenizer import tiny_tokenizer

SIZES = {"width": 32, "depth": 2, "num_heads": 2, "mlp_hidden": 64}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a tokenizer and a run of two steps."""
    folder = tmp_path_factory.mktemp("road")
    write_crops(folder / "pictures", 20)
    for number, path in enumerate(sorted((folder / "pictures").glob("*.png"))):
        target = folder / "labelled" / "ab"[number % 2] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    tokenizer = tiny_tokenizer()
    tokenizer.codebook.is_started.fill_(True)
    write_tokenizer(folder / "tokenizer.pth", tokenizer)
    options = ["--image-size", "32", "--patch-size", "8", "--num-codes", "24", "--iterations", "2", "--batch-size", "8"]
    sizes = [part for name, value in SIZES.items() for part in ("--set", f"masked.{name}={value}")]
    status = main(
        ["pretrain", str(folder / "pictures"), "--tokenizer", str(folder / "tokenizer.pth"), *options, *sizes]
        + ["--device", "cpu", "--precision", "fp32", "--workers", "0", "--set", "run.gauge_pictures=2"]
        + ["--out", str(folder / "run"), "--json"]
    )
    assert status == 4, "two steps teach nothing, and the gate says so"
    return folder


def weights(place: Path) -> dict[str, torch.Tensor]:
    found = torch.load(place / "run" / "output" / "pytorch_model.pt", weights_only=True)["model"]
    assert isinstance(found, dict)
    return found


def test_pretrain__keeps_what_was_asked(place: Path) -> None:
    content = json.loads((place / "run" / "configuration.json").read_text())
    assert content["stage"] == "masked"
    assert content["masked"] == {"image_size": 32, "patch_size": 8, "num_visual_tokens": 24, **SIZES}
    assert content["sources"] == {"tokenizer": str(place / "tokenizer.pth")}
    assert json.loads((place / "run" / "gate.json").read_text())["goes_on"] is False


def test_start_of_training__every_block_has_the_shared_table_and_its_norms_are_fresh(place: Path) -> None:
    """Trap 8: copies, not one table; trap 23: the final norm is not taken for the pooling norm."""
    folder, before = local_path(str(place / "run")), weights(place)
    assert folder == place / "run" / "output"
    started = load_start_network(read_folder_settings(folder).model, folder / "pytorch_model.pt")
    found = started.network.state_dict()
    table = before["rel_pos_bias.relative_position_bias_table"]
    assert bool(table.any()), "two steps have changed it"
    tables = [found[f"backbone.blocks.{number}.attn.relative_position_bias_table"] for number in range(2)]
    assert all(torch.equal(one, table) for one in tables)
    assert tables[0].data_ptr() != tables[1].data_ptr()
    assert torch.equal(found["backbone.fc_norm.weight"], torch.ones(32)) and not found["backbone.fc_norm.bias"].any()
    assert not torch.equal(before["norm.weight"], torch.ones(32))
    # A fresh head: deviation 0.02 times 0.001 (trap 36).
    assert 0 < found["head.fc.weight"].abs().max() < 2e-4
    own = [name for name in before if name.startswith(("blocks.", "patch_embed.", "cls_token"))]
    assert len(own) == 3 + 2 * 15
    for name in own:
        assert torch.equal(found[f"backbone.{name}"], before[name]), name
    assert set(started.initialised) == {
        "backbone.fc_norm.weight",
        "backbone.fc_norm.bias",
        "head.fc.weight",
        "head.fc.bias",
    }


@pytest.mark.parametrize("start", ["run", "run/output/pytorch_model.pt"], ids=["the run", "the file"])
def test_train__begins_from_it_with_no_step_in_between(place: Path, tmp_path: Path, start: str) -> None:
    options = ["--epochs", "1", "--batch-size", "8", "--device", "cpu", "--no-validate", "--set", "lr=1e-12"]
    assert main(["train", str(place / start), str(place / "labelled"), "--out", str(tmp_path / "tuned"), *options]) == 0
    tuned = open_model(tmp_path / "tuned" / "output")
    assert tuned.class_names == ("a", "b")
    found, before = tuned.network.state_dict(), weights(place)
    assert torch.allclose(found["backbone.blocks.1.mlp.fc1.weight"], before["blocks.1.mlp.fc1.weight"], atol=1e-6)
    assert tuned.settings.model.backbone.image_size == (32, 32)


def test_convert__makes_a_classifier_of_it(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(place / "run"), str(tmp_path / "start"), "--num-classes", "3"]) == 0
    assert "49 mapped" not in capsys.readouterr().out, "that many would be three blocks"
    converted = open_model(tmp_path / "start")
    table = weights(place)["rel_pos_bias.relative_position_bias_table"]
    for block in converted.network.backbone.blocks:
        assert torch.equal(block.attn.relative_position_bias_table, table)
    assert converted.settings.model.num_classes == 3
