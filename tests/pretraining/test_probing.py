"""What pre-training has learned, opened for probes: its own features, by the command too."""

import json
from pathlib import Path

import pytest
import torch

import class_folders
import helpers
from masked_runs import tiny_masked
from modelscope_beit.__main__ import main
from modelscope_beit.errors import ModelFolderError
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.pretraining.masked_files import masked_content
from modelscope_beit.pretraining.masked_model import MaskedPretrainingModel, build_masked_model
from modelscope_beit.pretraining.probing import open_pretrained


@pytest.fixture
def network() -> MaskedPretrainingModel:
    return helpers.with_random_weights(build_masked_model(tiny_masked())).eval()


@pytest.fixture
def run(tmp_path: Path, network: MaskedPretrainingModel) -> Path:
    """The folder of a run of masked image modelling, as far as a probe needs it."""
    (tmp_path / "run" / "output").mkdir(parents=True)
    (tmp_path / "run" / "configuration.json").write_text('{"stage": "masked"}')
    torch.save(masked_content(network), tmp_path / "run" / "output" / "pytorch_model.pt")
    return tmp_path / "run"


def test_open_pretrained__has_the_features_of_the_pretrained_network(
    run: Path, network: MaskedPretrainingModel
) -> None:
    before = torch.get_rng_state()
    opened = open_pretrained(run)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(opened.network, BeitClassifier)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = opened.network.backbone.features(images), network.backbone.features(images)
    torch.testing.assert_close(found.class_token, expected.class_token)
    torch.testing.assert_close(found.patch_tokens, expected.patch_tokens)
    # The network's last norm has been applied, with a weight and bias of its own.
    norm = network.backbone.norm
    assert norm is not None
    plain = (found.class_token - norm.bias) / norm.weight
    assert plain.mean(dim=1).abs().max() < 1e-5
    assert opened.transform(helpers.photographs()[0]).shape == (3, 32, 32)


def test_open_pretrained__needs_weights(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    with pytest.raises(ModelFolderError, match="no weights"):
        open_pretrained(tmp_path)


def test_probe__measures_class_token_and_mean_by_one_command(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = class_folders.write_parts(tmp_path / "photos", num_train=24, num_validation=9)
    out = tmp_path / "out"
    words = ["probe", str(run), str(photos), "--feature", "both", "--out", str(out), "--device", "cpu"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "class_token" in printed and "mean" in printed and printed.count("linear probe") == 2
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == {"class_token", "mean"}
    for feature, found in told.items():
        assert found["facts"]["feature"] == feature
        assert json.loads((out / feature / "probe.json").read_text()) == found
        assert (out / feature / "curves.png").is_file()
