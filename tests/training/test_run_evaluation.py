"""Which weights count, what they stand for, and that measuring them equals a computation by hand."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import helpers
import training_jobs
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.model_folder.opening import open_model, read_folder_settings
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.settings.recipe import Recipe
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.run_evaluation import (
    Trained,
    describe_weights,
    evaluate,
    read_for_evaluation,
    report_on_run,
    trained_weights,
)


@pytest.fixture
def tiny(tiny_model_folder: Path) -> Trained:
    settings = read_folder_settings(tiny_model_folder)
    return describe_weights(tiny_model_folder / "pytorch_model.pt", tiny_model_folder, settings)


def recipe(**evaluation: Any) -> Recipe:
    content = helpers.TINY_CONFIGURATION | {
        "device": "cpu",
        "evaluation": {"dataloader": {"batch_size_per_gpu": 4, "workers_per_gpu": 1}, "metrics": "accuracy"}
        | evaluation,
    }
    return read_for_evaluation(content, where="the test's", original=content)[1]


def rows(paths: list[Path]) -> list[dict[str, Any]]:
    return [{"image:FILE": str(path), "category": place % 5} for place, path in enumerate(paths)]


def test_evaluate__equals_a_computation_by_hand(tiny: Trained, ten_images: list[Path], tiny_model_folder: Path) -> None:
    records = records_of(rows(ten_images), class_names=helpers.TINY_CLASSES)
    found = evaluate(tiny, records, recipe(metric_options={"topk": [1, 2]}))
    model = open_model(tiny_model_folder)
    pixels = torch.stack([model.transform(Image.open(path)) for path in ten_images])
    with torch.no_grad():
        ranks = model.network(pixels).argsort(dim=1, descending=True)
    labels = torch.arange(10) % 5
    assert found.metrics["accuracy_top-1"] == 10.0 * int((ranks[:, 0] == labels).sum())
    assert found.metrics["accuracy_top-2"] == 10.0 * int((ranks[:, :2] == labels[:, None]).sum())
    assert found.is_main


def test_evaluate__matches_classes_by_name(tiny: Trained, ten_images: list[Path]) -> None:
    plain = evaluate(tiny, records_of(rows(ten_images), class_names=helpers.TINY_CLASSES), recipe())
    turned_rows = [row | {"category": 4 - row["category"]} for row in rows(ten_images)]
    turned = evaluate(tiny, records_of(turned_rows, class_names=helpers.TINY_CLASSES[::-1]), recipe())
    assert turned.metrics == plain.metrics
    assert np.array_equal(turned.outcomes.labels, plain.outcomes.labels)


def test_evaluate__takes_the_order_where_not_one_name_is_common(
    tiny: Trained, ten_images: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    plain = evaluate(tiny, records_of(rows(ten_images), class_names=helpers.TINY_CLASSES), recipe())
    translated = records_of(rows(ten_images), class_names=("Katze", "Hund", "Fuchs", "Chinesisch", "n1"))
    assert evaluate(tiny, translated, recipe()).metrics == plain.metrics
    assert "in the same order" in caplog.text
    fewer = records_of(rows(ten_images)[:3], class_names=("Katze", "Hund", "Fuchs"))
    with pytest.raises(SettingsError, match="matched by their names"):
        evaluate(tiny, fewer, recipe())


def test_evaluate__gives_one_number_per_class_as_an_array(tiny: Trained, ten_images: list[Path]) -> None:
    wanted = recipe(metrics=["accuracy", "recall"], metric_options={"average_mode": "none", "topk": [1]})
    found = evaluate(tiny, records_of(rows(ten_images), class_names=helpers.TINY_CLASSES), wanted)
    recall = found.metrics["recall"]
    assert isinstance(recall, np.ndarray) and recall.shape == (5,)
    assert np.mean(recall) == pytest.approx(found.metrics["accuracy_top-1"]), "two pictures of each class"


def test_describe_weights__reads_the_class_count_of_the_weights(tiny_model_folder: Path) -> None:
    settings = read_folder_settings(tiny_model_folder)
    settings = replace(settings, model=replace(settings.model, num_classes=1000))
    trained = describe_weights(tiny_model_folder / "pytorch_model.pt", tiny_model_folder, settings)
    assert trained.settings.model.num_classes == 5
    assert trained.settings.class_names == helpers.TINY_CLASSES


def test_describe_weights__takes_imagenets_names_for_a_thousand_unnamed_classes(
    tiny_classifier: BeitClassifier, tiny_model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_folder_settings(tiny_model_folder)
    weights = tmp_path / "unnamed.pth"
    torch.save({"state_dict": tiny_classifier.state_dict()}, weights)
    with pytest.raises(CheckpointError, match="what its 5 classes are called"):
        describe_weights(weights, tmp_path, settings)
    thousand = replace(settings, model=replace(settings.model, num_classes=1000))
    trained = describe_weights(weights, tmp_path, thousand)
    assert trained.settings.class_names is not None
    assert trained.settings.class_names[0] == "tench, Tinca tinca"
    assert "ImageNet-1k" in caplog.text
    named = replace(settings, class_names=("a", "b", "c", "d", "e"))
    assert describe_weights(weights, tmp_path, named).settings.class_names == named.class_names


def test_trained_weights__takes_what_the_record_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert trained_weights(tmp_path) is None
    for name in ("best_accuracy_top-1_epoch_9.pth", "best_accuracy_top-1_epoch_2.pth", "epoch_2.pth", "epoch_3.pth"):
        (tmp_path / name).write_bytes(b"")
    record: dict[str, Any] = {
        "checkpoints": [{"file": "epoch_2.pth"}, {"file": "epoch_3.pth"}],
        "best": {"file": "best_accuracy_top-1_epoch_2.pth"},
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert trained_weights(tmp_path) == tmp_path / "best_accuracy_top-1_epoch_2.pth"
    (tmp_path / "best_accuracy_top-1_epoch_2.pth").unlink()
    assert trained_weights(tmp_path) == tmp_path / "epoch_3.pth"
    assert "epoch_3.pth takes its place" in caplog.text
    (tmp_path / "run.json").write_text(json.dumps(record | {"best": {}}))
    assert trained_weights(tmp_path) == tmp_path / "epoch_3.pth"
    (tmp_path / "epoch_2.pth").unlink()
    (tmp_path / "epoch_3.pth").unlink()
    with pytest.raises(CheckpointError, match="are gone"):
        trained_weights(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"checkpoints": [], "best": {}}))
    assert trained_weights(tmp_path) is None


def test_trained_weights__of_the_stock_trainer(tmp_path: Path) -> None:
    for number in (2, 10, 9):
        (tmp_path / f"epoch_{number}.pth").write_bytes(b"")
    assert trained_weights(tmp_path) == tmp_path / "epoch_10.pth"
    for age, name in enumerate(("best_accuracy_top-1_epoch_4.pth", "best_accuracy_top-1_epoch_9.pth")):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert trained_weights(tmp_path) == tmp_path / "best_accuracy_top-1_epoch_4.pth"


def test_read_for_evaluation__needs_nothing_of_training() -> None:
    content = json.loads(json.dumps(helpers.TINY_CONFIGURATION))
    content["train"] = "strange"
    content["preprocessor"]["train"] = [{"type": "Mystery"}]
    content["model"]["mm_model"] |= {"train_cfg": {"augments": "?"}}
    content["model"]["mm_model"]["head"]["loss"] = {"type": "SeesawLoss"}
    settings, found = read_for_evaluation(content, where="the test's", original=content)
    assert settings.model.num_classes == 5
    assert found.final_evaluation.metrics == ("accuracy",)
    content["evaluation"] = {"metrics": "acuracy"}
    with pytest.raises(SettingsError, match="acuracy"):
        read_for_evaluation(content, where="the test's", original=content)


def test_report_on_run__measures_the_best_and_writes_the_report(tmp_path: Path) -> None:
    job = training_jobs.make_job(tmp_path / "run", training_jobs.configuration({"max_epochs": 2}))
    assert report_on_run(job) is None
    result = finetune(job)
    report = report_on_run(job)
    assert report is not None
    assert report.metrics["accuracy_top-1"] == result.best_metrics["accuracy_top-1"]
    assert report.in_words() == {"accuracy_top-1": f"{result.best_metrics['accuracy_top-1']:.2f}"}
    assert report.page == tmp_path / "run" / "report.html"
    assert "beit train tiny crops" in report.page.read_text(encoding="utf-8")
    assert report_on_run(replace(job, validation=None)) is None
