"""A whole configuration -> FolderSettings (what the folder is) and Recipe (how it is trained), in mmcls 0.x words.

Read are `train`, `evaluation`, `preprocessor.train`, `model.mm_model.head.loss`, `model.mm_model.train_cfg` and a few
keys at the top, with the meanings they have for mmcv 1.7.2 and ModelScope's stock trainer. Ours, beside those words:

    train.precision            "auto" (bf16 where the hardware has it), "fp32", "bf16" or "fp16"; mm says only `fp16`
    train.compile              true: torch.compile
    train.sampler              {"type": "ClassBalanced"}: every class equally often; null: shuffled
    train.early_stopping       {"patience": 3}: see settings/early_stopping.py
    train.head_init            "zero": the head starts from zeros, even where the weights have one that fits
    model.mm_model.backbone    frozen_stages: blocks that are not trained; with_cp: recompute activations to save memory
    train.optimizer            constructor and paramwise_cfg for layer-wise learning rates: see settings/optimizer.py
    head.loss.class_weight     "balanced": from the class counts of the training data
    device                     "auto", "cuda:1" ... are honoured

Standard library only.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.configuration import KNOWN_KEYS, FolderSettings, collect_configuration
from modelscope_beit.settings.early_stopping import EarlyStopping, read_early_stopping
from modelscope_beit.settings.evaluation import EvaluationSettings, read_evaluation
from modelscope_beit.settings.fine_tuning_defaults import fine_tuning_defaults
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.foreign_steps import Augmentation, picture_size, read_augmentation
from modelscope_beit.settings.introduced_keys import judge_unknown_keys, without_empty_introductions
from modelscope_beit.settings.losses import LossSettings, read_loss
from modelscope_beit.settings.mixing import MixingSettings, read_mixing
from modelscope_beit.settings.optimizer import OptimizerSettings, read_optimizer
from modelscope_beit.settings.optimizer_step import GradientClip, Precision, read_optimizer_step, read_precision
from modelscope_beit.settings.problems import Problems, Section, plain, shown
from modelscope_beit.settings.run_settings import (
    CheckpointSettings,
    EmaSettings,
    Order,
    read_checkpoint,
    read_device,
    read_ema,
    read_file,
    read_loader,
    read_log,
    read_order,
    read_run_length,
    read_seed,
    read_validation_phase,
    read_zero_head,
)
from modelscope_beit.settings.schedule import MomentumSettings, ScheduleSettings, read_momentum, read_schedule

logger = logging.getLogger(__name__)

# Keys of ModelScope's EpochBasedTrainer -> those of this trainer, stock or ours.
_EPOCH_BASED_KEYS = {
    "lr_scheduler": "lr_config",
    "checkpoint": "checkpoint_config and train.evaluation.save_best",
    "logging": "log_config",
    "hooks": "custom_hooks",
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    epochs, iterations: the length; one of them is None. An iteration is one batch of the loader.
    batch_size, workers: of each process; `evaluation_` likewise.
    loss: None for a network of mmcls, whose head computes it.
    clip: the gradients' largest norm. accumulation: iterations an optimizer step.
    precision: "auto" is bf16 where the hardware has it, otherwise fp32. loss_scale: a fixed one; None: dynamic.
    log_interval: iterations between two lines of the log.
    evaluation: during training; final_evaluation: what trainer.evaluate() measures.
    validates: whether to evaluate during training at all. has_validation_phase: the loss on the validation data too.
    zero_head: the head starts from zeros, whatever the start weights have for it.
    """

    epochs: int | None
    iterations: int | None
    batch_size: int
    workers: int
    evaluation_batch_size: int
    evaluation_workers: int
    training_steps: Augmentation
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    momentum: MomentumSettings | None
    clip: GradientClip | None
    accumulation: int
    loss: LossSettings | None
    mixing: MixingSettings | None
    precision: Precision
    loss_scale: float | None
    ema: EmaSettings | None
    checkpoint: CheckpointSettings
    log_interval: int
    tensorboard: bool
    evaluation: EvaluationSettings
    final_evaluation: EvaluationSettings
    validates: bool
    early_stopping: EarlyStopping | None
    has_validation_phase: bool
    zero_head: bool
    order: Order
    seed: int
    deterministic: bool
    compile: bool
    resume_from: str | None
    load_from: str | None
    device: str
    find_unused_parameters: bool


def read_recipe(
    configuration: Mapping[str, object], *, where: str, original: Mapping[str, object] | None = None
) -> tuple[FolderSettings, Recipe]:
    """Returns what a configuration says about the model folder, and about its training.

    configuration: the final one, after cfg_modify_fn, --set and keywords; any Mapping. It is not changed.
    original: the folder's own one before that. A key that is not in it and that nobody reads is a mistake; without
    it, such keys are only logged. Missing sections are those of fine_tuning_defaults.
    where: the file or object it came from, for messages. Raises SettingsError that lists every problem.
    """
    if not isinstance(configuration, Mapping):
        raise SettingsError(f"{where} must hold a mapping (a JSON object), not {shown(configuration)}.")
    content = plain(configuration) if original is None else without_empty_introductions(configuration, original)
    assert isinstance(content, dict)
    network, training = Problems(), Problems()
    settings = collect_configuration(content, network)
    filled = _with_defaults(content, settings)
    recipe = _read_training(Section(filled, "", training), settings)
    judge_unknown_keys(training, filled, original, where)
    # mmcls is no way out for these: training never uses it.
    network.wrong += training.wrong + training.foreign
    network.raise_if_any(where)
    assert settings is not None, "a configuration without problems has settings"
    return settings, recipe


def _with_defaults(content: dict[str, object], settings: FolderSettings | None) -> dict[str, object]:
    """Returns the configuration with defaults for what `preprocessor`, `train` and `evaluation` lack."""
    preprocessor, train = _child(content, "preprocessor"), _child(content, "train")
    steps = preprocessor.get("val")
    steps = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    image_size = None if settings is None else settings.model.image_size
    defaults = fine_tuning_defaults(picture_size(image_size, steps), steps)
    if "max_epochs" in _child(train, "runner"):
        _child(defaults, "train").pop("max_epochs")
    filled = dict(content)
    for name, section in defaults.items():
        if content.get(name) is None or isinstance(content[name], dict):
            filled[name] = {**cast(dict[str, object], section), **_child(content, name)}
    return filled


def _read_training(root: Section, settings: FolderSettings | None) -> Recipe:
    train, evaluation = _section(root, "train"), _section(root, "evaluation")
    preprocessor = _section(root, "preprocessor")
    # Whether the network's part is there at all is told where the network is read.
    mm_model = Section(_child(_child(root.mapping, "model"), "mm_model"), "model.mm_model", root.problems)
    epochs, iterations = read_run_length(train)
    step = read_optimizer_step(train)
    precision, loss_scale = read_precision(root, train, step)
    log = read_log(train)
    during = read_evaluation(_section(train, "evaluation"), by_epoch=iterations is None)
    validates = not root.flag("no_validate", False)
    batch_size, workers = read_loader(_section(train, "dataloader"), shuffles=True)
    evaluation_batch_size, evaluation_workers = read_loader(_section(evaluation, "dataloader"), shuffles=False)
    recipe = Recipe(
        epochs=epochs,
        iterations=iterations,
        batch_size=batch_size,
        workers=workers,
        evaluation_batch_size=evaluation_batch_size,
        evaluation_workers=evaluation_workers,
        training_steps=_read_steps(preprocessor),
        optimizer=read_optimizer(_section(train, "optimizer")),
        schedule=_read_schedule(train),
        momentum=read_momentum(_section(train, "momentum_config")) if train.get("momentum_config") else None,
        clip=step.clip,
        accumulation=step.accumulation,
        loss=None if settings and isinstance(settings.model, MmclsModelSettings) else _read_loss(mm_model),
        mixing=_read_mixing(mm_model),
        precision=precision,
        loss_scale=loss_scale,
        ema=read_ema(train),
        checkpoint=read_checkpoint(train, by_epoch=iterations is None),
        log_interval=log.interval,
        tensorboard=log.tensorboard,
        evaluation=during,
        final_evaluation=read_evaluation(evaluation),
        validates=validates,
        early_stopping=read_early_stopping(train, during, validates=validates),
        has_validation_phase=read_validation_phase(train),
        zero_head=read_zero_head(train),
        order=read_order(train),
        seed=read_seed(root),
        deterministic=root.flag("deterministic", False),
        compile=train.flag("compile", False),
        resume_from=read_file(train, "resume_from"),
        load_from=read_file(train, "load_from"),
        device=read_device(root),
        find_unused_parameters=root.flag("find_unused_parameters", False),
    )
    _note_unknown_keys(root, train, preprocessor)
    return recipe


def _note_unknown_keys(root: Section, train: Section, preprocessor: Section) -> None:
    """Notes what nobody read; called when all readers are done."""
    train.note_unknown_keys(harmless=("work_dir",))
    for name, counterpart in _EPOCH_BASED_KEYS.items():
        if f"train.{name}" in root.problems.unknown:
            root.problems.unknown[f"train.{name}"] = f"this trainer reads train.{counterpart}"
    preprocessor.note_unknown_keys(harmless=("type", "val"))
    for name, known in (("model", ("type", "mm_model")), ("dataset", ("classes", "data_prefix"))):
        Section(_child(root.mapping, name), name, root.problems).note_unknown_keys(harmless=known)
    root.note_unknown_keys(harmless=(*KNOWN_KEYS, "framework", "task", "pipeline", "model_dir", "version"))


def _read_steps(preprocessor: Section) -> Augmentation:
    steps = preprocessor.get("train")
    if not isinstance(steps, list) or not steps:
        preprocessor.wrong("train", "a list of mmcls transforms is expected, e.g. [{'type': 'RandomFlip', ...}, ...]")
        return ()
    return read_augmentation(steps, f"{preprocessor.path}.train", preprocessor.problems)


def _read_loss(mm_model: Section) -> LossSettings:
    """Reads the head's loss; without one, mmcls's heads have cross entropy."""
    head = Section(_child(mm_model.mapping, "head"), f"{mm_model.path}.head", mm_model.problems)
    loss = _section(head, "loss")
    return read_loss(loss if loss.mapping else Section({"type": "CrossEntropyLoss"}, loss.path, head.problems))


def _read_mixing(mm_model: Section) -> MixingSettings | None:
    if not mm_model.get("train_cfg"):
        return None
    train_cfg = _section(mm_model, "train_cfg")
    augments = train_cfg.get("augments")
    train_cfg.note_unknown_keys()
    return read_mixing(augments, f"{train_cfg.path}.augments", mm_model.problems) if augments else None


def _read_schedule(train: Section) -> ScheduleSettings:
    lr_config = _section(train, "lr_config")
    # Without one, mmcv's runner leaves the learning rate alone.
    return read_schedule(
        lr_config if lr_config.mapping else Section({"policy": "fixed"}, lr_config.path, train.problems)
    )


def _section(section: Section, name: str) -> Section:
    """Returns the mapping under a key; an empty one for null and, after a note, for what is no mapping."""
    found = None if section.get(name) is None else section.section(name)
    return found or Section({}, f"{section.path}.{name}" if section.path else name, section.problems)


def _child(mapping: Mapping[str, object], name: str) -> dict[str, object]:
    """Returns the mapping under a key, or an empty one if there is none."""
    value = mapping.get(name)
    return value if isinstance(value, dict) else {}
