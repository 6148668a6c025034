"""One part of pretraining_proof.py, in a process of its own: a stage of pre-training, or the fine-tunings of one arm.

python benchmarks/pretraining_proof_part.py WORK PART, where PART is tokenizer, masked-SEED or ARM-SEED.
"""

import gzip
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from modelscope_beit.data.pictures import RowPictures
from modelscope_beit.data.records import Records
from modelscope_beit.model_folder.writing import write_model_folder
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.pretraining.feature_cache import FeatureCache
from modelscope_beit.pretraining.job import Labelled, PretrainingJob
from modelscope_beit.pretraining.masked_model import MaskedPretrainingModel
from modelscope_beit.pretraining.masked_stage import MaskedStage
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.pretraining.stage import Stage
from modelscope_beit.pretraining.teacher_networks import open_teacher
from modelscope_beit.pretraining.tokenizer_files import open_tokenizer
from modelscope_beit.pretraining.tokenizer_stage import TokenizerLoss, TokenizerStage
from modelscope_beit.pretraining.vq_kd import Tokenizer
from modelscope_beit.settings.configuration import read_configuration
from modelscope_beit.settings.from_mapping import settings_from
from modelscope_beit.settings.masked_configuration import classifier_configuration
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings, MaskingSettings, ViewSettings
from modelscope_beit.settings.model import BackboneSettings, ModelSettings
from modelscope_beit.settings.pretraining_run import PretrainingRun
from modelscope_beit.settings.teacher import EFFICIENTNET_LITE0, TeacherSettings
from modelscope_beit.settings.tokenizer import CodebookSettings, CropSettings, TokenizerSettings
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.preparation import Start, TrainingData, make_job, prepare

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PRETRAINED, SCRATCH, SCRATCH_LONGER = "pretrained", "scratch", "scratch_longer"
ARMS = (PRETRAINED, SCRATCH, SCRATCH_LONGER)
# The mean and the deviation of a pixel of Fashion-MNIST, about.
_GREY = (90 / 255,) * 3
_TARGET_WIDTH = 1280


@dataclass(frozen=True)
class Sizes:
    """All that decides how long the proof takes, and what it is measured on.

    epochs: of fine-tuning, for each number of labels. is_rehearsal: measured on training pictures that nothing learned
    from, as all recipes here were chosen, instead of on test pictures.
    """

    unlabelled: int = 10_000
    taught: int = 5_000
    tested: int = 5_000
    image: int = 30
    patch: int = 6
    width: int = 48
    depth: int = 4
    teacher_image: int = 160
    codes: int = 64
    tokenizer_epochs: int = 10
    masked_epochs: int = 10
    labels: tuple[int, ...] = (100, 1_000, 10_000)
    epochs: tuple[int, ...] = (80, 24, 5)
    pretraining_batch: int = 64
    batch: int = 32
    seeds: int = 3
    is_rehearsal: bool = False


def read_pictures(sizes: Sizes) -> tuple[Records, Records]:
    """Returns the pictures to learn from, the first `unlabelled` of one shuffling, and those to measure on."""
    images, labels, rows = _part("train")
    learned = _records(images, labels, rows[: sizes.unlabelled], "training pictures of Fashion-MNIST")
    if sizes.is_rehearsal:
        held_out = rows[sizes.unlabelled : sizes.unlabelled + sizes.tested]
        return learned, _records(images, labels, held_out, "held-out training pictures of Fashion-MNIST")
    images, labels, rows = _part("t10k")
    return learned, _records(images, labels, rows[: sizes.tested], "test pictures of Fashion-MNIST")


def _part(prefix: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pictures, their labels and all rows in one shuffling that is always the same."""
    with gzip.open(FASHION_MNIST / f"{prefix}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FASHION_MNIST / f"{prefix}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    return images, labels, np.random.default_rng(0).permutation(len(labels))


def _records(images: np.ndarray, labels: np.ndarray, rows: np.ndarray, words: str) -> Records:
    name = f"{len(rows):,} {words}"
    pictures = RowPictures(images.__getitem__, one_at_a_time=False)
    return Records(pictures, labels, CLASSES, description=name).select(rows, name)


def masked_settings(sizes: Sizes) -> MaskedPretrainingSettings:
    """Returns the settings of masked image modelling: the published ones, smaller."""
    backbone = BackboneSettings(
        image_size=(sizes.image, sizes.image),
        patch_size=sizes.patch,
        width=sizes.width,
        depth=sizes.depth,
        num_heads=sizes.width // 16,
        mlp_hidden=4 * sizes.width,
        relative_position="shared",
        pooling="class_token",
    )
    return MaskedPretrainingSettings(
        MaskedImageModelSettings(backbone, sizes.codes),
        early_layer=sizes.depth - 1,
        head_layers=1,
        masking=MaskingSettings(min_block=2),
        views=ViewSettings(color_jitter=0.0, scale=(0.4, 1.0), mean=_GREY, std=_GREY),
    )


def tokenizer_settings(sizes: Sizes) -> TokenizerSettings:
    """Returns the settings of the tokenizer: half the depth of the network, a decoder of one block."""
    return TokenizerSettings(
        image_size=(sizes.image, sizes.image),
        patch_size=sizes.patch,
        width=sizes.width,
        num_heads=sizes.width // 16,
        mlp_hidden=4 * sizes.width,
        encoder_depth=sizes.depth // 2,
        decoder_depth=1,
        target_width=_TARGET_WIDTH,
        # In so few steps most codes stay unused if nothing moves them: with the published settings 29 of 256 were used.
        codebook=CodebookSettings(num_codes=sizes.codes, code_width=16, decay=0.9, revive_after=20),
    )


def run_tokenizer(work: Path, sizes: Sizes) -> dict[str, Any]:
    """Trains the tokenizer on the features of EfficientNet-Lite0, which knows ImageNet but no Fashion-MNIST."""
    pictures, tested = read_pictures(sizes)
    torch.manual_seed(0)
    tokenizer = Tokenizer(tokenizer_settings(sizes))
    grid = tokenizer.settings.encoder.grid
    teacher = open_teacher(TeacherSettings(EFFICIENTNET_LITE0, image_size=sizes.teacher_image), grid)
    stage = TokenizerStage(
        tokenizer, teacher, crops=CropSettings(fixed=True), cache=FeatureCache(work / "teacher", teacher)
    )
    taught = pictures.select(np.arange(sizes.taught), f"{sizes.taught:,} pictures of it")
    recipe = _recipe(sizes, sizes.tokenizer_epochs, lr=2e-3, min_lr=1e-5, weight_decay=1e-4, betas=(0.9, 0.99))
    return _pretrain(work / "tokenizer", stage, recipe, taught, Labelled(pictures, tested))


def run_masked(work: Path, sizes: Sizes, seed: int) -> dict[str, Any]:
    """Trains the network to guess the codes of hidden patches."""
    pictures, tested = read_pictures(sizes)
    settings = masked_settings(sizes)
    torch.manual_seed(seed)
    stage = MaskedStage(settings, MaskedPretrainingModel(settings), open_tokenizer(work / "tokenizer"))
    recipe = _recipe(sizes, sizes.masked_epochs, lr=3e-3, min_lr=1e-5, weight_decay=0.05, seed=seed)
    return _pretrain(work / f"masked-{seed}", stage, recipe, pictures, Labelled(pictures, tested))


def _recipe(sizes: Sizes, epochs: int, **changes: Any) -> PretrainingRun:
    values: dict[str, Any] = {
        "epochs": epochs, "batch_size": sizes.pretraining_batch, "workers": 0, "warm_up_epochs": 1, "precision": "fp32",
        "device": "cpu", "log_interval": 20, "gauge_interval": 260, "gauge_pictures": 512, "checkpoint_interval": 50,
        "neighbour_pictures": 2000,
    }  # fmt: skip
    return PretrainingRun(**(values | changes))


def _pretrain(
    folder: Path, stage: Stage, recipe: PretrainingRun, pictures: Records, labelled: Labelled
) -> dict[str, Any]:
    began = time.perf_counter()
    job = PretrainingJob(
        stage=stage,
        recipe=recipe,
        pictures=pictures,
        labelled=labelled,
        configuration={"stage": stage.name, "run": asdict(recipe)},
        work_dir=folder,
        timestamp=time.strftime("%Y%m%d_%H%M%S"),
        data=pictures.description,
        command="python benchmarks/pretraining_proof.py",
        # What a part that was killed had saved.
        is_resumed=(folder / "latest.pth").exists(),
    )
    result = pretrain(job)
    if result.verdict is None:
        raise SystemExit(f"{folder.name}: stopped by a signal and saved; call the proof again to go on")
    return {
        "seconds": time.perf_counter() - began,
        "iterations": result.iterations,
        "goes_on": result.verdict.goes_on,
        "reasons": result.verdict.reasons,
        "gauges": dict(result.gauges),
    }


def run_arm(work: Path, sizes: Sizes, arm: str, seed: int) -> dict[str, Any]:
    """Fine-tunes the network of an arm on each number of labels, and returns accuracies in percent."""
    pictures, tested = read_pictures(sizes)
    folder = _start_folder(work, sizes, arm, seed)
    cost = flops(sizes)
    found = {}
    for labels, epochs in zip(sizes.labels, sizes.epochs, strict=True):
        epochs = longer(sizes, labels, epochs, cost) if arm == SCRATCH_LONGER else epochs
        run = work / "finetuned" / f"{arm}-{seed}-{labels}"
        kept = run / "proof.json"
        if not kept.exists():
            began = time.perf_counter()
            accuracy = _finetune(folder, run, sizes, chosen(pictures, labels, seed), tested, epochs, seed)
            told = {"accuracy": accuracy, "epochs": epochs, "seconds": time.perf_counter() - began}
            kept.write_text(json.dumps(told))
        found[str(labels)] = json.loads(kept.read_text())
    return found


def longer(sizes: Sizes, labels: int, epochs: int, cost: Mapping[str, float]) -> int:
    """Returns the epochs that take as much arithmetic as pre-training (both stages) and fine-tuning together."""
    pretraining = sizes.tokenizer_epochs * sizes.taught * cost["tokenizer"]
    pretraining += sizes.masked_epochs * sizes.unlabelled * (cost["masked"] + cost["codes"])
    return epochs + round(pretraining / (labels * cost["classifier"]))


def chosen(pictures: Records, labels: int, seed: int) -> Records:
    """Returns so many of the pictures, each class equally often (all of them as they are), drawn by the seed."""
    if labels >= len(pictures):
        return pictures
    rng, numbers = np.random.default_rng((seed, labels)), pictures.labels()
    rows = [
        rng.permutation(np.flatnonzero(numbers == label))[: labels // len(CLASSES)] for label in range(len(CLASSES))
    ]
    return pictures.select(np.sort(np.concatenate(rows)), f"{labels:,} labelled pictures")


def flops(sizes: Sizes) -> dict[str, float]:
    """Returns floating-point operations a picture: a training step of each network, the codes, the teacher's pass."""
    masked, tokenizer = masked_settings(sizes), Tokenizer(tokenizer_settings(sizes))
    settings = read_configuration(classifier_configuration(masked), "the proof").model
    assert isinstance(settings, ModelSettings), "ours"
    classifier, images = build_classifier(settings), torch.rand(1, 3, sizes.image, sizes.image)
    rows, columns = masked.model.backbone.grid
    hidden = torch.arange(masked.num_masked)[None]
    mask = torch.zeros(1, rows * columns, dtype=torch.bool).scatter_(1, hidden, True)
    network = MaskedPretrainingModel(masked)
    targets = torch.rand(1, rows * columns, _TARGET_WIDTH)
    tokenizer.codebook.start(torch.randn(1, sizes.codes, 16), seed=0)
    learning = TokenizerLoss(tokenizer).train()
    teacher = open_teacher(TeacherSettings(EFFICIENTNET_LITE0, image_size=sizes.teacher_image), (rows, columns))
    return {
        "classifier": _counted(lambda: classifier(images).sum().backward()),
        "masked": _counted(lambda: network(images, mask, hidden).sum().backward()),
        "tokenizer": _counted(lambda: learning({"images": images, "targets": targets})[0].backward()),
        "codes": _counted(lambda: tokenizer.tokenize(images)),
        "teacher": _counted(lambda: teacher(images)),
    }


def _counted(step: Any) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def _start_folder(work: Path, sizes: Sizes, arm: str, seed: int) -> Path:
    """Writes the model folder that fine-tuning starts from, as `beit train` takes it."""
    folder = work / "starts" / f"{arm}-{seed}"
    configuration = classifier_configuration(masked_settings(sizes))
    if arm == PRETRAINED:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "configuration.json").write_text(json.dumps(configuration))
        weights = work / f"masked-{seed}" / "output" / "pytorch_model.pt"
        (folder / weights.name).write_bytes(weights.read_bytes())
        return folder
    settings = read_configuration(configuration, "the proof")
    assert isinstance(settings.model, ModelSettings), "ours"
    model = replace(settings.model, num_classes=len(CLASSES))
    torch.manual_seed(seed)
    weights = build_classifier(model).state_dict()
    write_model_folder(folder, replace(settings, model=model, class_names=CLASSES), weights, card="", overwrite=True)
    return folder


def _finetune(folder: Path, run: Path, sizes: Sizes, train: Records, tested: Records, epochs: int, seed: int) -> float:
    original = json.loads((folder / "configuration.json").read_text())
    per_epoch = -(-len(train) // sizes.batch)
    configuration = original | _training(sizes, epochs, per_epoch, seed)
    start = Start(folder, folder / "pytorch_model.pt", original, configuration, "the proof's recipe")
    prepared = prepare(start, lambda: TrainingData(train, tested))
    result = finetune(
        make_job(
            prepared,
            work_dir=run,
            timestamp="proof",
            source=str(folder),
            data=train.description,
            command="python benchmarks/pretraining_proof.py",
            reopening={},
        )
    )
    if "accuracy_top-1" not in result.best_metrics:
        raise SystemExit(f"{run.name}: stopped by a signal; call the proof again, it begins this fine-tuning anew")
    return result.best_metrics["accuracy_top-1"]


def _training(sizes: Sizes, epochs: int, per_epoch: int, seed: int) -> dict[str, Any]:
    """Returns the sections of training: AdamW and a cosine, a tenth of it warm-up; evaluated once, at the end."""
    grey = [90.0] * 3
    ends: list[dict[str, Any]] = [
        {"type": "Normalize", "mean": grey, "std": grey},
        {"type": "ImageToTensor", "keys": ["img"]},
    ]
    crop = {"type": "RandomResizedCrop", "size": sizes.image, "scale": [0.6, 1.0], "backend": "pillow"}
    flip = {"type": "RandomFlip", "flip_prob": 0.5, "direction": "horizontal"}
    whole = {"type": "Resize", "size": [sizes.image, sizes.image], "interpolation": "bicubic", "backend": "pillow"}
    return {
        "seed": seed,
        "device": "cpu",
        "preprocessor": {
            "type": "image-classification-bypass-preprocessor",
            "train": [{"type": "LoadImageFromFile"}, crop | {"interpolation": "bicubic"}, flip, *ends],
            "val": [{"type": "LoadImageFromFile"}, whole, *ends],
        },
        "train": {
            "max_epochs": epochs,
            "workflow": [["train", 1]],
            "precision": "fp32",
            "dataloader": {"batch_size_per_gpu": sizes.batch, "workers_per_gpu": 0},
            "optimizer": {"type": "AdamW", "lr": 3e-3, "weight_decay": 0.05},
            "optimizer_config": {"grad_clip": {"max_norm": 5.0}},
            "lr_config": {
                "policy": "UnilmCosine",
                "min_lr_ratio": 0.01,
                "warmup_iters": max(1, epochs * per_epoch // 10),
                "warmup_by_epoch": False,
            },
            "checkpoint_config": {"interval": max(1, epochs // 4), "max_keep_ckpts": 1},
            "log_config": {"interval": 50, "hooks": [{"type": "TextLoggerHook"}]},
            "evaluation": {"interval": epochs, "metric": "accuracy", "save_best": "accuracy_top-1"},
        },
        "evaluation": {"dataloader": {"batch_size_per_gpu": 500, "workers_per_gpu": 0}, "metrics": ["accuracy"]},
    }


def main() -> None:
    """Runs the part that the command line names, and writes WORK/PART.json."""
    work, part = Path(sys.argv[1]), sys.argv[2]
    sizes = settings_from(json.loads((work / "sizes.json").read_text()), Sizes, where="sizes.json")
    name, _, seed = part.partition("-")
    if part == "tokenizer":
        found = run_tokenizer(work, sizes)
    elif name == "masked":
        found = run_masked(work, sizes, int(seed))
    else:
        found = run_arm(work, sizes, name, int(seed))
    file = work / f"{part}.json"
    beside = file.with_suffix(".partial")
    beside.write_text(json.dumps(found, indent=2))
    beside.rename(file)


if __name__ == "__main__":
    main()
