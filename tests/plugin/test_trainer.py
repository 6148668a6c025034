"""The trainer as ModelScope builds it for a script: names, files, results and errors of the stock one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from modelscope.metainfo import Trainers
from modelscope.models.base import Model
from modelscope.msdatasets import MsDataset
from modelscope.pipelines import pipeline
from modelscope.trainers import build_trainer

import helpers
import training_jobs
from modelscope_beit.errors import CheckpointError, MissingPackageError, ModelFolderError, SettingsError
from modelscope_beit.plugin import trainer as trainer_module
from modelscope_beit.plugin import trainer_model
from modelscope_beit.plugin.trainer import BeitImageClassificationTrainer as Trainer
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.run_evaluation import Trained

CLASSES = training_jobs.CLASSES
RECIPE = {"max_epochs": 4}


@pytest.fixture
def model_folder(tiny_model_folder: Path) -> Path:
    """The tiny folder (five classes), with a recipe that learns in seconds."""
    content = training_jobs.configuration(RECIPE)
    content["model"]["mm_model"]["head"]["num_classes"] = len(helpers.TINY_CLASSES)
    (tiny_model_folder / "configuration.json").write_text(json.dumps(content))
    return tiny_model_folder


def ms_dataset(folder: Path, number: int, seed: int = 0) -> MsDataset:
    """Returns pictures in files, as ModelScope unpacks a data set: image:FILE, category, and a classname.txt."""
    folder = folder / "extracted" / "0123" / "train"
    folder.mkdir(parents=True)
    (folder / "classname.txt").write_text("\n".join(CLASSES) + "\n")
    files = []
    rows = training_jobs.crops(number, seed=seed)
    for index, row in enumerate(rows):
        files.append(str(folder / f"{index}.png"))
        row["image"].save(files[-1])
    return MsDataset(Dataset.from_dict({"image:FILE": files, "category": [row["label"] for row in rows]}))


@pytest.fixture
def train_dataset(tmp_path: Path) -> MsDataset:
    return ms_dataset(tmp_path / "train", 22)


@pytest.fixture
def eval_dataset(tmp_path: Path) -> MsDataset:
    return ms_dataset(tmp_path / "val", 9, seed=1)


def build(model: Any, tmp_path: Path, **arguments: Any) -> Any:
    keywords = {"model": model, "work_dir": str(tmp_path / "work_dir"), "device": "cpu", **arguments}
    trainer = build_trainer(name=Trainers.image_classification, default_args=keywords)
    assert isinstance(trainer, Trainer)
    return trainer


def test_train_and_evaluate__as_the_model_card_shows(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset, eval_dataset: MsDataset
) -> None:
    def cfg_modify_fn(cfg: Any) -> Any:
        cfg.train.dataloader.batch_size_per_gpu = 8
        cfg.train.dataloader.workers_per_gpu = 1
        cfg.train.max_epochs = 2
        cfg.model.mm_model.head.num_classes = 3
        cfg.train.optimizer.lr = 1e-3
        cfg.train.evaluation.metric_options = {"topk": (1,)}
        cfg.evaluation.metric_options = {"topk": (1,)}
        return cfg

    trainer = build(
        str(model_folder),
        tmp_path,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        cfg_modify_fn=cfg_modify_fn,
    )
    assert trainer.train() is None
    files = os.listdir(trainer.work_dir)
    assert {f"{trainer.timestamp}.log", f"{trainer.timestamp}.log.json", "configuration.json", "latest.pth"} <= {*files}
    assert {"epoch_1.pth", "epoch_2.pth", "output"} <= {*files}
    assert [name for name in files if name.startswith("best_accuracy_top-1_epoch_")]
    dumped = json.loads((Path(trainer.work_dir) / "configuration.json").read_text())
    assert dumped["train"]["max_epochs"] == trainer.max_epochs == 2
    results = trainer.evaluate()
    assert list(results) == ["accuracy_top-1"]
    assert type(results["accuracy_top-1"]) is float
    assert 0 <= results["accuracy_top-1"] <= 100
    assert (Path(trainer.work_dir) / "report.html").exists()


def test_evaluate__equals_the_pipeline_over_the_same_pictures(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset, eval_dataset: MsDataset
) -> None:
    trainer = build(str(model_folder), tmp_path, train_dataset=train_dataset, eval_dataset=eval_dataset)
    trainer.train()
    results = trainer.evaluate()
    assert list(results) == ["accuracy_top-1"], "five of three classes cannot be asked for"
    classify = pipeline("image-classification", model=str(Path(trainer.work_dir) / "output"), device="cpu")
    rows = eval_dataset.ds_instance
    answers = classify(rows["image:FILE"])
    right = [answer["labels"][0] == CLASSES[row] for answer, row in zip(answers, rows["category"], strict=True)]
    assert results["accuracy_top-1"] == 100 * sum(right) / len(right)


def test_evaluate__without_training_measures_the_models_own_weights(
    model_folder: Path, tmp_path: Path, ten_images: list[Path]
) -> None:
    rows = [{"image:FILE": str(path), "category": place % 5} for place, path in enumerate(ten_images)]
    trainer = build(str(model_folder), tmp_path, train_dataset=None, eval_dataset=rows)
    trainer.cfg.evaluation.metric_options = {"topk": [1, 5]}
    results = trainer.evaluate()
    assert results["accuracy_top-5"] == 100, "there are five classes"
    classify = pipeline("image-classification", model=str(model_folder), device="cpu")
    right = [classify(row["image:FILE"])["labels"][0] == helpers.TINY_CLASSES[row["category"]] for row in rows]
    assert results["accuracy_top-1"] == 100 * sum(right) / 10
    assert trainer.eval_checkpoint_path == str(model_folder / "pytorch_model.pt")
    assert trainer.evaluate(checkpoint_path=trainer.eval_checkpoint_path) == results
    assert trainer.evaluate(str(model_folder)) == results


def test_evaluate__looks_at_nothing_that_concerns_training(
    model_folder: Path, tmp_path: Path, ten_images: list[Path]
) -> None:
    content = json.loads((model_folder / "configuration.json").read_text())
    content["train"] |= {"optimizer": {"type": "Adamm", "lr": 1.0}}
    content["preprocessor"]["train"] = [{"type": "RandomResizeCrop", "size": 32}]
    content["model"]["mm_model"]["head"]["loss"] = {"type": "CrossEntropyLos"}
    (model_folder / "configuration.json").write_text(json.dumps(content))
    rows = [{"image:FILE": str(path), "category": 1} for path in ten_images]
    assert build(str(model_folder), tmp_path, eval_dataset=rows).evaluate()
    with pytest.raises(SettingsError) as error:
        build(str(model_folder), tmp_path, train_dataset=rows, no_validate=True)
    assert all(word in str(error.value) for word in ("Adamm", "RandomResizeCrop", "CrossEntropyLos"))


def test_evaluate__prefers_the_best_of_this_run(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset, eval_dataset: MsDataset, monkeypatch: Any
) -> None:
    trainer = build(str(model_folder), tmp_path, train_dataset=train_dataset, eval_dataset=eval_dataset)
    work_dir = Path(trainer.work_dir)
    stale = {"state_dict": torch.load(model_folder / "pytorch_model.pt", weights_only=True)["state_dict"]}
    torch.save(stale | {"meta": {"CLASSES": list("abcde")}}, work_dir / "best_accuracy_top-1_epoch_99.pth")
    trainer.train()
    measured: list[Trained] = []
    evaluate = trainer_module.evaluate

    def noted(trained: Trained, *arguments: Any, **keywords: Any) -> Any:
        measured.append(trained)
        return evaluate(trained, *arguments, **keywords)

    monkeypatch.setattr(trainer_module, "evaluate", noted)
    trainer.evaluate()
    record = json.loads((work_dir / "run.json").read_text())
    assert measured[0].weights.name == record["best"]["file"]
    assert measured[0].weights.name != "best_accuracy_top-1_epoch_99.pth"
    trainer.evaluate(str(work_dir / "epoch_1.pth"))
    assert measured[1].weights.name == "epoch_1.pth"


def test_model__is_the_network_that_evaluate_measures(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset
) -> None:
    trainer = build(str(model_folder), tmp_path, train_dataset=train_dataset, no_validate=True, max_epochs=1)
    assert trainer.model(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    trainer.train()
    assert trainer.model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    saved = training_jobs.weights_of(Path(trainer.work_dir) / "epoch_1.pth")
    assert all(torch.equal(value, saved[key]) for key, value in trainer.model.state_dict().items())


def test_model__is_the_best_one_after_early_stopping(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset, eval_dataset: MsDataset
) -> None:
    def impatient(cfg: Any) -> None:
        cfg.train.max_epochs = 9
        # Nothing is better by more than all there is: the first result is the only improvement.
        cfg.train.early_stopping = dict(patience=2, min_delta=100.0)

    trainer = build(
        str(model_folder), tmp_path, train_dataset=train_dataset, eval_dataset=eval_dataset, cfg_modify_fn=impatient
    )
    trainer.train()
    work_dir = Path(trainer.work_dir)
    assert (work_dir / "epoch_3.pth").exists() and not (work_dir / "epoch_4.pth").exists()
    (best,) = work_dir.glob("best_accuracy_top-1_epoch_*.pth")
    expected = training_jobs.weights_of(best)
    assert all(torch.equal(value, expected[key]) for key, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("rule", ["auto", "bit"])
def test_recipe__is_made_by_a_rule_beneath_cfg_modify_fn(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset, eval_dataset: MsDataset, rule: str
) -> None:
    def shorter(cfg: Any) -> None:
        cfg.train.optimizer.lr = 0.125

    data = {"train_dataset": train_dataset, "eval_dataset": eval_dataset, "max_epochs": 2}
    trainer = build(str(model_folder), tmp_path, recipe=rule, cfg_modify_fn=shorter, **data)
    trainer.train()
    made = json.loads((Path(trainer.work_dir) / "recipe.json").read_text())["train"]
    assert made["optimizer"]["lr"] == 0.125
    assert made["optimizer"]["type"] == trainer.cfg.train.optimizer.type == {"auto": "AdamW", "bit": "SGD"}[rule]
    assert json.loads((Path(trainer.work_dir) / "run.json").read_text())["checkpoints"][-1]["iterations"] == 2
    assert trainer.evaluate()["accuracy_top-1"] >= 0


def test_trainer__starts_from_a_model_as_it_is_in_memory(
    model_folder: Path, tmp_path: Path, ten_images: list[Path]
) -> None:
    model = Model.from_pretrained(str(model_folder))
    with torch.no_grad():
        model.cls_model.head.fc.bias[2] += 1000
    rows = [{"image:FILE": str(path), "category": 2} for path in ten_images]
    assert build(model, tmp_path, eval_dataset=rows).evaluate()["accuracy_top-1"] == 100


def test_resume_from__goes_on_bit_for_bit(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset, eval_dataset: MsDataset
) -> None:
    data = {"train_dataset": train_dataset, "eval_dataset": eval_dataset, "cfg_modify_fn": _constant_rate}
    whole = build(str(model_folder), tmp_path, work_dir=str(tmp_path / "whole"), max_epochs=2, **data)
    whole.train()
    build(str(model_folder), tmp_path, work_dir=str(tmp_path / "parts"), max_epochs=1, **data).train()
    latest = tmp_path / "parts" / "latest.pth"
    parts = build(
        str(model_folder), tmp_path, work_dir=str(tmp_path / "parts"), max_epochs=2, resume_from=latest, **data
    )
    parts.train()
    expected = training_jobs.weights_of(tmp_path / "whole" / "epoch_2.pth")
    found = training_jobs.weights_of(tmp_path / "parts" / "epoch_2.pth")
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def _constant_rate(cfg: Any) -> None:
    cfg.train.lr_config = {"policy": "fixed"}


def test_load_from__is_what_training_starts_from(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset, monkeypatch: Any
) -> None:
    jobs: list[TrainingJob] = []

    def end_at_once(job: TrainingJob) -> Any:
        jobs.append(job)
        return _Ended()

    monkeypatch.setattr(trainer_module, "finetune", end_at_once)
    arguments = {"train_dataset": train_dataset, "no_validate": True}
    build(str(model_folder), tmp_path, **arguments).train()
    build(str(model_folder), tmp_path, load_from=str(tmp_path / "other.pth"), **arguments)
    (tmp_path / "other.pth").write_bytes((model_folder / "pytorch_model.pt").read_bytes())
    build(str(model_folder), tmp_path, load_from=str(tmp_path / "other.pth"), **arguments).train()
    assert [job.start_weights.name for job in jobs] == ["pytorch_model.pt", "other.pth"]
    assert jobs[0].settings.class_names == CLASSES
    assert jobs[0].settings.model.num_classes == 3


class _Ended:
    was_interrupted = False


def test_train__an_interruption_ends_the_script(
    model_folder: Path, tmp_path: Path, train_dataset: MsDataset, monkeypatch: Any
) -> None:
    class Interrupted:
        was_interrupted = True
        checkpoint = "work_dir/iter_3.pth"

    monkeypatch.setattr(trainer_module, "finetune", lambda job: Interrupted())
    trainer = build(str(model_folder), tmp_path, train_dataset=train_dataset, no_validate=True)
    with pytest.raises(KeyboardInterrupt, match="iter_3.pth"):
        trainer.train()


def test_train__says_what_is_missing(model_folder: Path, tmp_path: Path, train_dataset: MsDataset) -> None:
    with pytest.raises(ValueError, match="Not found train dataset"):
        build(str(model_folder), tmp_path, eval_dataset=train_dataset).train()
    with pytest.raises(ValueError, match="Not found evaluate dataset.*no_validate=True"):
        build(str(model_folder), tmp_path, train_dataset=train_dataset).train()
    with pytest.raises(ValueError, match="Not found evaluate dataset"):
        build(str(model_folder), tmp_path, train_dataset=train_dataset).evaluate()
    with pytest.raises(SettingsError, match="work_dir is .* the folder of the model"):
        trainer = build(
            str(model_folder), tmp_path, train_dataset=train_dataset, work_dir=model_folder, no_validate=True
        )
        trainer.train()


def test_constructor__names_misspelt_keys_at_once(model_folder: Path, tmp_path: Path, train_dataset: MsDataset) -> None:
    def misspell(cfg: Any) -> None:
        cfg.train.optimizer.weight_deacy = 0.1
        cfg.train.max_epoch = 3

    with pytest.raises(SettingsError) as error:
        build(str(model_folder), tmp_path, train_dataset=train_dataset, cfg_modify_fn=misspell)
    assert "train.optimizer.weight_deacy" in str(error.value)
    assert "train.max_epoch" in str(error.value)
    with pytest.raises(SettingsError, match="did you mean work_dir?"):
        build(str(model_folder), tmp_path, workdir="x")


def test_constructor__takes_cfg_file_in_place_of_a_model(model_folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(cfg_file=str(model_folder / "configuration.json"), work_dir=tmp_path / "work")
    assert trainer.model_dir == str(model_folder)
    assert trainer.meta["exp_name"] == "configuration.json"
    assert (trainer.meta["seed"], trainer.distributed, trainer.device) == (0, False, "auto")


def test_constructor__of_a_local_folder_asks_nobody(model_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def ask(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody asked the hub")

    monkeypatch.setattr("modelscope.trainers.base.check_local_model_is_latest", ask)
    monkeypatch.setattr(trainer_model, "_download", ask)
    build(str(model_folder), tmp_path)


def test_instantiate__takes_a_model_of_the_hub(model_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(trainer_model, "_download", lambda *_, **__: model_folder)
    trainer = Trainer._instantiate(model="damo/some_model", work_dir=str(tmp_path / "work"))
    assert isinstance(trainer, Trainer)
    assert trainer.model_dir == str(model_folder)


def test_instantiate__leaves_networks_of_mmcls_to_the_stock_trainer(
    model_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(trainer_module, "is_ours", lambda _: False)
    monkeypatch.setattr(trainer_module, "_STOCK_MODULE", "nobody.has.this")
    with pytest.raises(MissingPackageError, match="to train networks of mmcls"):
        Trainer._instantiate(model=str(model_folder))


def test_evaluate__refuses_weights_whose_classes_nobody_names(model_folder: Path, tmp_path: Path) -> None:
    state = torch.load(model_folder / "pytorch_model.pt", weights_only=True)
    torch.save({"state_dict": state["state_dict"]}, model_folder / "pytorch_model.pt")
    with pytest.raises(CheckpointError, match="what its 5 classes are called"):
        build(str(model_folder), tmp_path, eval_dataset=training_jobs.crops(3)).evaluate()
    (model_folder / "pytorch_model.pt").unlink()
    with pytest.raises(ModelFolderError, match="no weights"):
        build(str(model_folder), tmp_path, eval_dataset=training_jobs.crops(3)).evaluate()


def test_train__from_a_stream_in_iterations(model_folder: Path, tmp_path: Path, train_dataset: MsDataset) -> None:
    def count_iterations(cfg: Any) -> None:
        cfg.train.runner = {"type": "IterBasedRunner", "max_iters": 3}
        del cfg.train["max_epochs"]

    stream = MsDataset(train_dataset.ds_instance.to_iterable_dataset())
    arguments = {"train_dataset": stream, "cfg_modify_fn": count_iterations, "fp16": True}
    trainer = build(str(model_folder), tmp_path, no_validate=True, **arguments)
    assert trainer.max_epochs is None
    trainer.train()
    assert (Path(trainer.work_dir) / "iter_3.pth").exists()
    with pytest.raises(SettingsError, match="a stream; while training, data with a length are expected"):
        build(str(model_folder), tmp_path, eval_dataset=stream, **arguments).train()
    trainer.eval_dataset = stream
    assert 0 <= trainer.evaluate()["accuracy_top-1"] <= 100
