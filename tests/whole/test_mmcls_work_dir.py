"""What mmcls users have at the end of a training: config.py as its tools/train.py writes it, and a checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import class_folders
import helpers
import training_jobs
from modelscope_beit.__main__ import main
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import open_model
from shipped_recipes import CONFIGS, mm_recipe

pytestmark = pytest.mark.openmmlab

SIDE = 64


def small(path: Path) -> Any:
    """Returns a shipped recipe for a network and pictures that are small; everything else is left as it is."""
    mmcv = pytest.importorskip("mmcv", reason="mmcv writes config.py")
    config = mmcv.Config(mm_recipe(path))
    config.model.backbone.arch = {"depths": [1, 1, 2, 1], "channels": [8, 8, 16, 16]}
    config.model.head.in_channels = 16
    config.model.head.num_classes = len(training_jobs.CLASSES)
    for pipeline in (config.data.train.pipeline, config.data.test.pipeline):
        for step in pipeline:
            for name in {"size", "crop_size"} & step.keys():
                step[name] = SIDE
    config.data.samples_per_gpu = 8
    config.data.workers_per_gpu = 0
    return config


def test_train__goes_on_with_mmclss_recipe_where_mmcls_left_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = pytest.importorskip("mmcls.models", reason="mmcls is the oracle")
    pipelines = pytest.importorskip("mmcls.datasets.pipelines", reason="mmcls is the oracle")
    config = small(CONFIGS / "convnext/convnext-tiny_32xb128_in1k.py")
    folder, data, run = tmp_path / "convnext", class_folders.write_parts(tmp_path / "data"), tmp_path / "run"
    folder.mkdir()
    config.dump(str(folder / "config.py"))
    torch.manual_seed(0)
    theirs = helpers.with_random_weights(models.build_classifier(config.model)).eval()
    content = {"state_dict": theirs.state_dict(), "meta": {"CLASSES": training_jobs.CLASSES}}
    torch.save(content, folder / "pytorch_model.pt")

    picture = next(data.rglob("*.png"))
    pixels = pipelines.Compose(config.data.test.pipeline)({"img_prefix": None, "img_info": {"filename": str(picture)}})
    opened = open_model(folder, trust_remote_code=True)
    with torch.no_grad():
        expected = theirs(pixels["img"][None], return_loss=False, softmax=False, post_process=False)
        logits = opened.network(opened.transform(read_image(picture))[None])
    torch.testing.assert_close(logits, expected)

    command = ["train", str(folder), str(data), "--out", str(run), "--epochs", "1"]
    assert main(command) != 0
    assert "trust" in capsys.readouterr().err
    assert main([*command, "--trust-remote-code"]) == 0
    told = json.loads((run / "configuration.json").read_text())
    assert told["train"]["custom_hooks"] == [{"type": "EMAHook", "momentum": 4e-5, "priority": "ABOVE_NORMAL"}]
    assert told["train"]["optimizer"]["lr"] == config.optimizer.lr
    assert "RandAugment" in [step["type"] for step in told["preprocessor"]["train"]]
    # The folder that comes out needs no code.
    assert open_model(run / "output").class_names == training_jobs.CLASSES
