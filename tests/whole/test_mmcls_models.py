"""Folders of networks that mmcls builds, from the first picture to the fine-tuned folder; mmcls is the oracle."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mmcls.models", reason="the networks come with the extra openmmlab")

from modelscope.pipelines import pipeline

import mmcls_models
import training_jobs
from mmcls_models import CLASSES, make_job
from modelscope_beit.__main__ import main
from modelscope_beit.data.batches import training_batches
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.networks import training_transform
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.training.finetune import finetune

pytestmark = [pytest.mark.openmmlab, pytest.mark.filterwarnings("ignore")]
NETWORKS = {
    "Swin": mmcls_models.SWIN,
    "ConvNeXt": mmcls_models.CONVNEXT,
    "ResNet": mmcls_models.RESNET,
    "several labels": mmcls_models.NETWORKS["MultiLabelLinearClsHead"],
}


def without_drop_path(network: dict[str, Any]) -> dict[str, Any]:
    network = copy.deepcopy(network)
    if "drop_path_rate" in network["backbone"]:
        network["backbone"]["drop_path_rate"] = 0.0
    return network


def stock_pipeline(folder: Path) -> Any:
    """Returns ModelScope's own pipeline over its own model and preprocessor."""
    from modelscope.models.cv.image_classification.mmcls_model import ClassificationModel
    from modelscope.pipelines.cv.image_classification_pipeline import GeneralImageClassificationPipeline
    from modelscope.preprocessors.cv.mmcls_preprocessor import ImageClassificationMmcvPreprocessor

    model = ClassificationModel(str(folder))
    model.eval()
    return GeneralImageClassificationPipeline(
        model=model, preprocessor=ImageClassificationMmcvPreprocessor(model_dir=str(folder)), device="cpu"
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in folders of their classes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, row in enumerate(training_jobs.crops(12)):
        (folder / CLASSES[row["label"]]).mkdir(exist_ok=True)
        row["image"].save(folder / CLASSES[row["label"]] / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_folder__opens_answers_as_stock_trains_and_reopens(tmp_path: Path, pictures: Path, name: str) -> None:
    folder = tmp_path / "model"
    mmcls_models.write_folder(folder, NETWORKS[name])
    paths = [str(path) for path in sorted(pictures.rglob("*.jpg"))]
    ours = pipeline("image-classification", model=str(folder), device="cpu")(paths, batch_size=4)
    stock = stock_pipeline(folder)
    for path, answer in zip(paths, ours, strict=True):
        expected = stock(path)
        assert answer["labels"] == expected["labels"]
        assert answer["scores"] == pytest.approx(expected["scores"], abs=1e-6)

    run = tmp_path / "run"
    train = ["train", str(folder), str(pictures), "--out", str(run), "--epochs", "1", "--set", "lr=0.01"]
    assert main([*train, "--set", "train.dataloader.batch_size_per_gpu=4", "--set", "device=cpu"]) == 0
    again = pipeline("image-classification", model=str(run / "output"), device="cpu")(paths)
    assert [answer["labels"] for answer in again] == [stock_pipeline(run / "output")(path)["labels"] for path in paths]
    assert again != ours
    for command in (["describe", str(run / "output")], ["evaluate", str(run), str(pictures), "--out", f"{run}/again"]):
        assert main(command) == 0


@pytest.mark.parametrize("name", ["Swin", "ConvNeXt", "ResNet"])
def test_training__makes_the_steps_of_mmcls(tmp_path: Path, name: str) -> None:
    network = without_drop_path(NETWORKS[name])
    job = make_job(tmp_path / "run", network)
    finetune(job)
    trained = training_jobs.weights_of(tmp_path / "run" / "epoch_1.pth")

    theirs = mmcls_models.build(network).train()
    optimizer = torch.optim.SGD(theirs.parameters(), **{k: v for k, v in mmcls_models.SGD.items() if k != "type"})
    place = {"seed": job.recipe.seed, "epoch": 0, "batch_size": 4, "workers": 0, "rank": 0, "world_size": 1}
    steps = 0
    for batch in training_batches(job.train, training_transform(job.recipe.training_steps), **place):
        optimizer.zero_grad()
        theirs.train_step({"img": batch.images, "gt_label": batch.labels})["loss"].backward()
        optimizer.step()
        steps += 1
    assert steps == 3
    for key, expected in theirs.state_dict().items():
        torch.testing.assert_close(
            trained[key], expected, rtol=0, atol=1e-6, msg=lambda told, key=key: f"{key}: {told}"
        )
        assert trained[key].dtype == expected.dtype


LONG = {
    "max_epochs": 2,
    "custom_hooks": [{"type": "EMAHook", "momentum": 0.2}],
    "optimizer_config": {"type": "GradientCumulativeOptimizerHook", "cumulative_iters": 2},
}


@pytest.mark.parametrize("name", ["SwinV2", "SeesawLoss"])
def test_training__goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    network = mmcls_models.NETWORKS.get(name, mmcls_models.with_head({"loss": {"type": "SeesawLoss"}}))
    finetune(make_job(tmp_path / "whole", network, LONG))
    finetune(make_job(tmp_path / "parts", network, LONG | {"max_epochs": 1}))
    resumed = LONG | {"resume_from": str(tmp_path / "parts" / "epoch_1.pth")}
    finetune(make_job(tmp_path / "parts", network, resumed))
    whole, parts = (torch.load(tmp_path / run / "epoch_2.pth", weights_only=True) for run in ("whole", "parts"))
    for part in ("state_dict", "trained_weights"):
        expected, found = (state.get(part) or state["training"][part] for state in (whole, parts))
        assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
        counts = [tensor for key, tensor in found.items() if key.endswith("num_batches_tracked")]
        assert all(count.dtype == torch.int64 and count == 6 for count in counts)
    assert len(whole["optimizer"]["state"]) > 0
    for key, kept in whole["optimizer"]["state"].items():
        assert torch.equal(kept["momentum_buffer"], parts["optimizer"]["state"][key]["momentum_buffer"])
    opened = open_model(tmp_path / "parts" / "output")
    assert type(opened.network).__name__ == "MmclsClassifier"
    assert all(torch.isfinite(tensor).all() for tensor in opened.network.state_dict().values())


def test_seesaw_loss__on_a_native_network_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def train(run: str, **changes: Any) -> dict[str, Any]:
        content = training_jobs.configuration({"max_epochs": 2, "lr_config": {"policy": "fixed"}, **changes})
        content["model"]["mm_model"]["head"]["loss"] = {"type": "SeesawLoss"}
        finetune(training_jobs.make_job(tmp_path / run, content, num_train=8))
        return dict(torch.load(tmp_path / run / f"epoch_{content['train']['max_epochs']}.pth", weights_only=True))

    whole = train("whole")
    assert whole["training"]["loss"]["loss.cum_samples"].tolist() == [6, 6, 4]
    train("parts", max_epochs=1)
    parts = train("parts", resume_from=str(tmp_path / "parts" / "epoch_1.pth"))
    assert all(torch.equal(tensor, parts["state_dict"][key]) for key, tensor in whole["state_dict"].items())
    assert open_model(tmp_path / "parts" / "output").settings.model.num_classes == 3


def test_training__other_classes_get_a_fresh_head(tmp_path: Path, pictures: Path, capsys: Any) -> None:
    folder = tmp_path / "model"
    network = mmcls_models.with_head({"num_classes": 5, "loss": {"type": "SeesawLoss", "num_classes": 5}})
    network["train_cfg"] = {"augments": {"type": "BatchMixup", "alpha": 0.8, "num_classes": 5, "prob": 0.0}}
    mmcls_models.write_folder(folder, network, classes="abcde")
    train = ["train", str(folder), str(pictures), "--out", str(tmp_path / "run"), "--epochs", "1"]
    options = ["--set", "model.mm_model.head.loss={'type': 'CrossEntropyLoss'}", "--set", "device=cpu"]
    assert main([*train, *options]) == 0
    assert "head.fc.weight, head.fc.bias (3 classes)" in next((tmp_path / "run").glob("*.log")).read_text()
    opened = open_model(tmp_path / "run" / "output")
    assert set(opened.class_names) == set(CLASSES)
    content = json.loads((tmp_path / "run" / "output" / "configuration.json").read_text())["model"]["mm_model"]
    assert content["head"]["num_classes"] == content["train_cfg"]["augments"]["num_classes"] == 3


def test_commands__embed_and_probe_and_the_one_that_cannot(tmp_path: Path, pictures: Path, capsys: Any) -> None:
    folder = tmp_path / "model"
    mmcls_models.write_folder(folder, mmcls_models.CONVNEXT)
    assert main(["embed", str(folder), str(pictures), "--out", str(tmp_path / "features.parquet")]) == 0
    assert main(["probe", str(folder), str(pictures), "--out", str(tmp_path / "probe")]) == 0
    for target in ("timm", "transformers", "unilm", "modelscope"):
        capsys.readouterr()
        assert main(["convert", str(folder), str(tmp_path / target), "--to", target]) == 2
        told = capsys.readouterr().err
        assert "BEiT v2, BEiT, ViT or DeiT with native preprocessing is needed to convert" in told
        assert len(told.strip().splitlines()) == 1


def test_python_configuration__opens_on_trust(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    theirs = mmcls_models.write_folder(folder, mmcls_models.RESNET)
    (folder / "configuration.json").unlink()
    (folder / "base.py").write_text(f"model = {mmcls_models.RESNET!r}")
    (folder / "config.py").write_text(
        f"_base_ = 'base.py'\ncustom_imports = dict(imports=['mmcls.models'])\n"
        f"data = dict(test=dict(pipeline={mmcls_models.STEPS!r}))"
    )
    opened = open_model(folder, trust_remote_code=True)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.simple_test(images, softmax=False, post_process=False)
        assert torch.equal(opened.network(images), expected)


def test_training__on_several_labels_needs_a_loss_for_them(tmp_path: Path) -> None:
    rows = [row | {"label": [row["label"], 2]} for row in training_jobs.crops(6)]
    several = records_of(rows, class_names=CLASSES)
    assert several.is_multi_label
    job = make_job(tmp_path / "one", mmcls_models.with_head({}))
    with pytest.raises(SettingsError, match="expects one right class per picture"):
        finetune(dataclasses.replace(job, train=several, validation=None))
    (tmp_path / "several").mkdir()
    job = make_job(tmp_path / "several" / "run", mmcls_models.NETWORKS["MultiLabelLinearClsHead"])
    result = finetune(dataclasses.replace(job, train=several, validation=None))
    assert result.iterations == 2
    assert np.isfinite(open_model(result.output).network.head.fc.weight.detach()).all()
