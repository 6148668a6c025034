"""The end of a run: the gate as a file, the files for others, and a report that asks nobody for anything."""

import json
import re
from pathlib import Path

import pytest
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.pretraining.ending import GATE_FILE, REPORT_FILE, read_gate
from modelscope_beit.pretraining.job import PretrainingJob
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.pretraining.stage import Verdict
from toy_run import draw_pictures, make_job
from toy_stage import ToyStage


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose gate said stop, and which makes a model folder."""
    folder = tmp_path_factory.mktemp("ending")
    job = make_job(draw_pictures(folder / "pictures", 44), folder / "a <run>", ToyStage(goes_on=False), epochs=2)
    pretrain(PretrainingJob(**{**vars(job), "output_configuration": {"task": "image-classification"}}))
    return folder / "a <run>"


def test_conclude__writes_what_the_gate_says(run: Path) -> None:
    content = json.loads((run / GATE_FILE).read_text())
    assert (content["stage"], content["goes_on"]) == ("toy", False)
    assert content["gauges"]["aside_error"] == pytest.approx(float(content["reasons"][0].split()[-1]), abs=1e-3)
    assert read_gate(run) == Verdict(False, tuple(content["reasons"]))


def test_read_gate__of_a_run_that_has_none(tmp_path: Path) -> None:
    assert read_gate(tmp_path) is None
    (tmp_path / GATE_FILE).write_text("[]")
    with pytest.raises(SettingsError, match="what a finished stage wrote is expected"):
        read_gate(tmp_path)


def test_conclude__writes_weights_and_what_makes_a_model_folder_of_them(run: Path) -> None:
    weights = torch.load(run / "output" / "toy.pth", weights_only=True)["model"]
    assert weights.keys() == ToyStage().network.state_dict().keys()
    assert json.loads((run / "output" / "configuration.json").read_text()) == {"task": "image-classification"}


def test_report__shows_verdict_gauges_curves_and_pictures(run: Path) -> None:
    page = (run / REPORT_FILE).read_text(encoding="utf-8")
    assert "Stop: not ready for the next stage." in page
    assert "aside_error" in page and "gradient_norm" in page
    assert page.count("data:image/png;base64,") == 2, "the curves, and the stage's own picture"
    assert "The first &lt;picture&gt;" in page and "<picture>" not in page, "others' words are text only"
    assert "a &lt;run&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page), "nothing is fetched"
