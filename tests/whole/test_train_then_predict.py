"""Scripts as the hub's model cards have them, run as they are with `beit run`: only ids are those of local folders.

Pictures are real (crops of two photographs), the network is the one that comes with the package.
"""

import ast
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from modelscope.pipelines import pipeline

import helpers
import training_jobs
from modelscope_beit.model_folder.finding import find_model_folder

TRAINING_SCRIPT = """
import os
import tempfile
from modelscope.metainfo import Trainers
from modelscope.msdatasets import MsDataset
from modelscope.trainers import build_trainer

model_id = 'MODEL'

train_dataset = MsDataset.load('DATA', namespace='tany0699', subset_name='default', split='train')
eval_dataset = MsDataset.load('DATA', namespace='tany0699', subset_name='default', split='validation')
tmp_dir = os.environ['WORK_DIR']

def cfg_modify_fn(cfg):
    cfg.train.dataloader.batch_size_per_gpu = 8
    cfg.train.dataloader.workers_per_gpu = 1
    cfg.train.max_epochs = 3
    cfg.model.mm_model.head.num_classes = 3
    cfg.model.mm_model.head.loss.num_classes = 3
    cfg.train.optimizer.lr = 1e-3
    cfg.train.lr_config.warmup_iters = 1
    cfg.train.evaluation.metric_options = {'topk': (1, )}
    cfg.evaluation.metric_options = {'topk': (1, )}
    return cfg

kwargs = dict(
    model=model_id,
    work_dir=tmp_dir,
    train_dataset=train_dataset,
    eval_dataset=eval_dataset,
    cfg_modify_fn=cfg_modify_fn)

trainer = build_trainer(name=Trainers.image_classification, default_args=kwargs)
trainer.train()
result = trainer.evaluate()
print('result:', result)
"""

EVALUATION_SCRIPT = """
import os
from modelscope.metainfo import Trainers
from modelscope.msdatasets import MsDataset
from modelscope.trainers import build_trainer

model_id = 'MODEL'
eval_dataset = MsDataset.load('DATA', namespace='tany0699', subset_name='default', split='validation')

kwargs = dict(model=model_id, work_dir=os.environ['WORK_DIR'], train_dataset=None, eval_dataset=eval_dataset)
trainer = build_trainer(name=Trainers.image_classification, default_args=kwargs)
result = trainer.evaluate()
print('result:', result)
"""

# In the manner of ModelScope's example for this trainer: options become places of the configuration.
ARGUMENTS_SCRIPT = """
import os
from dataclasses import dataclass, field
from modelscope import MsDataset, TrainingArgs
from modelscope.trainers.builder import build_trainer

@dataclass(init=False)
class Arguments(TrainingArgs):
    num_classes: int = field(default=None, metadata={'help': 'classes', 'cfg_node': [
        'model.mm_model.head.num_classes',
        'model.mm_model.train_cfg.augments.0.num_classes',
        'model.mm_model.train_cfg.augments.1.num_classes']})
    topk: tuple = field(default=None, metadata={'help': 'top k', 'cfg_node': [
        'train.evaluation.metric_options.topk', 'evaluation.metric_options.topk']})
    warmup_iters: str = field(default=None, metadata={'help': 'warm-up', 'cfg_node': 'train.lr_config.warmup_iters'})

arguments = Arguments(
    model='MODEL', max_epochs=1, lr=1e-4, optimizer='AdamW', warmup_iters=1, topk=(1, )).parse_cli()
config, rest = arguments.to_config()

def cfg_modify_fn(cfg):
    if rest.use_model_config:
        cfg.merge_from_dict(config)
        return cfg
    return config

def data(name, split):
    namespace, name = name.split('/')
    return MsDataset.load(name, namespace=namespace, subset_name='default', split=split)

kwargs = dict(
    model=rest.model,
    train_dataset=data(arguments.train_dataset_name, arguments.train_split),
    eval_dataset=data(arguments.val_dataset_name, arguments.val_split),
    cfg_modify_fn=cfg_modify_fn)
if 'MASTER_ADDR' in os.environ:
    kwargs['launcher'] = 'pytorch'
build_trainer(name='image-classification', default_args=kwargs).train()
"""


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures where ModelScope unpacks them, and the tables that name them: what MsDataset.load reads."""
    root = tmp_path_factory.mktemp("data")
    (root / "pets").mkdir()
    for split, number in (("train", 32), ("validation", 12)):
        pictures = root / "extracted" / "0123" / split
        pictures.mkdir(parents=True)
        (pictures / "classname.txt").write_text("\n".join(training_jobs.CLASSES) + "\n")
        with (root / "pets" / f"{split}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["image:FILE", "category"])
            for index, row in enumerate(training_jobs.crops(number, seed=number)):
                row["image"].save(pictures / f"{index}.png")
                writer.writerow([pictures / f"{index}.png", row["label"]])
    return root / "pets"


def run_script(
    script: str, folder: Path, data: Path, *arguments: str, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs a script with the ids replaced and nothing else; its work_dir is folder/work_dir."""
    text = script.replace("MODEL", str(find_model_folder())).replace("DATA", str(data))
    (folder / "script.py").write_text(text)
    environment = os.environ | {
        "PYTHONPATH": str(helpers.ROOT),
        "WORK_DIR": str(folder / "work_dir"),
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "MODELSCOPE_CACHE": str(folder / "cache"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, *(launcher or ("-m",)), "modelscope_beit", "run", str(folder / "script.py"), *arguments]
    return subprocess.run(command, cwd=data.parent, env=environment, capture_output=True, text=True, timeout=240)


def result_in(output: str) -> dict[str, float]:
    """Returns the mapping that a card's script prints."""
    (line,) = [line for line in output.splitlines() if line.startswith("result: {")]
    result: dict[str, float] = ast.literal_eval(line.removeprefix("result: "))
    return result


def accuracy_of_pipeline(model_folder: Path, data: Path) -> float:
    """Returns the share of validation pictures, in percent, whose best label of `pipeline` is theirs."""
    classify = pipeline("image-classification", model=str(model_folder), device="cpu")
    with (data / "validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    answers = classify([row["image:FILE"] for row in rows], batch_size=5)
    names = training_jobs.CLASSES
    right = [answer["labels"][0] == names[int(row["category"])] for answer, row in zip(answers, rows, strict=True)]
    return 100 * sum(right) / len(right)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> tuple[Path, dict[str, float]]:
    """What the card's training script has left in its work_dir, and the result that it printed."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_script(TRAINING_SCRIPT, folder, data_folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "work_dir", result_in(done.stdout)


def test_training_script_of_the_card(trained: tuple[Path, dict[str, float]], data_folder: Path) -> None:
    work_dir, result = trained
    assert list(result) == ["accuracy_top-1"]
    assert result["accuracy_top-1"] > 60, "guessing gets a third"
    assert result["accuracy_top-1"] == pytest.approx(accuracy_of_pipeline(work_dir / "output", data_folder), abs=1e-9)
    files = {path.name for path in work_dir.iterdir()}
    assert {"configuration.json", "latest.pth", "epoch_1.pth", "epoch_2.pth", "epoch_3.pth"} <= files
    (log,) = work_dir.glob("*.log.json")
    assert log.with_suffix("").exists(), "the .log beside it has the same name"
    best = json.loads((work_dir / "run.json").read_text())["best"]
    assert best["file"].startswith("best_accuracy_top-1_epoch_") and best["file"] in files
    assert json.loads((work_dir / "configuration.json").read_text())["model"]["mm_model"]["head"]["num_classes"] == 3


def test_evaluation_script_of_the_card(
    trained: tuple[Path, dict[str, float]], tmp_path: Path, data_folder: Path
) -> None:
    work_dir, result = trained
    done = run_script(EVALUATION_SCRIPT.replace("MODEL", str(work_dir / "output")), tmp_path, data_folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert result_in(done.stdout) == result
    assert (tmp_path / "work_dir" / "report.html").exists()


def test_arguments_script(tmp_path: Path, data_folder: Path) -> None:
    options = ["--num_classes", "3", "--work_dir", str(tmp_path / "work_dir"), "--use_model_config", "true"]
    for split, value in (("train", "train"), ("val", "validation")):
        options += [f"--{split}_dataset_name", f"local/{data_folder.name}", f"--{split}_split", value]
    done = run_script(ARGUMENTS_SCRIPT, tmp_path, data_folder, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "work_dir" / "epoch_1.pth").exists()
    assert not (tmp_path / "work_dir" / "epoch_2.pth").exists()
    without = options[: options.index("--use_model_config")] + options[options.index("true") + 1 :]
    done = run_script(ARGUMENTS_SCRIPT, tmp_path, data_folder, *without)
    assert done.returncode == 1
    assert "pass --use_model_config true" in done.stderr


def test_training_script_in_two_processes(tmp_path: Path, data_folder: Path) -> None:
    script = TRAINING_SCRIPT.replace("cfg_modify_fn=cfg_modify_fn)", "cfg_modify_fn=cfg_modify_fn, launcher='pytorch')")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
    done = run_script(script.replace("max_epochs = 3", "max_epochs = 1"), tmp_path, data_folder, launcher=torchrun)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("result: None") == 1, "the second process gets nothing"
    accuracy = accuracy_of_pipeline(tmp_path / "work_dir" / "output", data_folder)
    assert result_in(done.stdout)["accuracy_top-1"] == pytest.approx(accuracy, abs=1e-9)
    assert len(list((tmp_path / "work_dir").glob("*.log"))) == 1
