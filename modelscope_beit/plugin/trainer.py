"""The trainer that ModelScope builds for `image-classification`: as scripts know it, around our own loop."""

import json
import logging
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from modelscope.trainers.base import BaseTrainer
from modelscope.trainers.builder import TRAINERS
from modelscope.utils.config import Config
from modelscope.utils.constant import DEFAULT_MODEL_REVISION
from modelscope.utils.logger import get_logger
from torch import nn

from modelscope_beit import names
from modelscope_beit.checkpoints.files import write_weights
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.data.records import Records
from modelscope_beit.errors import ModelFolderError, SettingsError, require
from modelscope_beit.model_folder.label_files import read_labels
from modelscope_beit.model_folder.networks import load_network
from modelscope_beit.model_folder.opening import find_weight_file, read_folder_settings
from modelscope_beit.plugin.host_fixes import register_over
from modelscope_beit.plugin.routing import is_ours
from modelscope_beit.plugin.trainer_arguments import (
    TrainerArguments,
    is_distributed,
    read_arguments,
    refuse_unused_objects,
    start_processes,
)
from modelscope_beit.plugin.trainer_configuration import (
    make_config,
    modified_config,
    plain_configuration,
    set_max_epochs,
)
from modelscope_beit.plugin.trainer_model import given_classifier, model_folder
from modelscope_beit.plugin.trainer_pushing import check_pushes, push_run
from modelscope_beit.settings.hub_push import PUSH_KEYS, HubPush, read_pushes, take_push_settings, without_tokens
from modelscope_beit.settings.recipe import Recipe, read_recipe
from modelscope_beit.training.environment import environment_info
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.preparation import Start, TrainingData, make_job, prepare
from modelscope_beit.training.processes import is_main_process
from modelscope_beit.training.reopening import keep_recipe
from modelscope_beit.training.run_evaluation import (
    Trained,
    describe_weights,
    evaluate,
    read_for_evaluation,
    trained_weights,
    write_evaluation,
)
from modelscope_beit.training.start_configuration import complete_configuration, with_training_sections

_STOCK_MODULE = "modelscope.trainers.cv.image_classifition_trainer"
_SECONDS_BETWEEN_LINES = 30.0


class BeitImageClassificationTrainer(BaseTrainer):
    """Fine-tunes and evaluates; keywords, attributes, files and results are those of the stock trainer.

    model: a hub id, a model folder, or a ClassificationModel, whose weights count as they are now.
    cfg_file: the configuration, if it is not that of the model's folder. arg_parse_fn: see ModelScope's Config.to_args.
    train_dataset, eval_dataset: an MsDataset, a data set of datasets or torch, or a list of rows such as
        {"image:FILE": path, "category": 3}.
    cfg_modify_fn: gets the configuration and changes it, in place or by returning another one.
    kwargs: see TrainerArguments. An unknown keyword is an error, as is an object that would have no effect
        (data_collator, preprocessor, optimizers).

    cfg: the configuration; what a script changes in it before train() counts. work_dir: everything is written there.
    timestamp: names the log files. eval_checkpoint_path: the weights that training starts from.
    """

    cfg: Config

    def __init__(
        self,
        model: str | nn.Module | None = None,
        cfg_file: str | None = None,
        arg_parse_fn: Callable[[Any], Any] | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        preprocessor: Any = None,
        optimizers: Sequence[Any] = (None, None),
        model_revision: str | None = DEFAULT_MODEL_REVISION,
        seed: int = 0,
        cfg_modify_fn: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = read_arguments(kwargs)
        refuse_unused_objects(data_collator=data_collator, preprocessor=preprocessor, optimizers=optimizers)
        self._given_model = given_classifier(model)
        self._temporary_folder: tempfile.TemporaryDirectory[str] | None = None
        folder = model_folder(model, cfg_file, model_revision)
        self.cfg_file = cfg_file or str(folder / names.CONFIGURATION_FILE)
        if not Path(self.cfg_file).is_file():
            raise ModelFolderError(f"There is no configuration at {self.cfg_file}; give a model folder, or cfg_file.")
        super().__init__(self.cfg_file, arg_parse_fn)
        self.logger = get_logger()
        self.model_dir = str(folder)
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self._rule = arguments.recipe
        self._source = model if isinstance(model, str) else self.model_dir
        self._read_configuration(arguments, seed, cfg_modify_fn)
        start_processes(arguments)
        self.distributed = is_distributed(arguments)
        Path(self.work_dir).mkdir(parents=True, exist_ok=True)

    @classmethod
    def _instantiate(cls, **kwargs: Any) -> BaseTrainer:
        """Builds the trainer, or the stock one for a model folder that needs mmcls."""
        folder = model_folder(kwargs.get("model"), kwargs.get("cfg_file"), kwargs.get("model_revision"))
        if is_ours(folder):
            return cls(**kwargs)
        stock = require(_STOCK_MODULE, extra="openmmlab", purpose="to train networks of mmcls")
        trainer: BaseTrainer = stock.ImageClassifitionTrainer(**kwargs)
        return trainer

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Trains until the end of the recipe; see the README for what is then in work_dir.

        Raises SettingsError before the first step if data or settings cannot be used; KeyboardInterrupt after a signal,
        when the state has been saved.
        """
        if self.train_dataset is None:
            raise SettingsError("Not found train dataset, please set the 'train_dataset' parameter!")
        if self.eval_dataset is None and not self.cfg.get("no_validate", False):
            raise SettingsError(
                "Not found evaluate dataset: training validates after each epoch. Set the 'eval_dataset' parameter, or "
                "no_validate=True."
            )
        work_dir = Path(self.work_dir)
        if work_dir.resolve() == Path(self.model_dir).resolve():
            raise SettingsError(
                f"work_dir is {work_dir}, the folder of the model; the run would replace its "
                f"{names.CONFIGURATION_FILE}. Choose another work_dir."
            )
        pushes = self._pushes()
        check_pushes(pushes)
        prepared = prepare(self._start(), self._open_data)
        if prepared.ruled is not None:
            # evaluate() reads it.
            self.cfg = Config(prepared.ruled.configuration, filename=self.cfg_file)
            if is_main_process():
                keep_recipe(prepared, work_dir)
        job = make_job(
            prepared,
            work_dir=work_dir,
            timestamp=self.timestamp,
            source=self._source,
            data=prepared.data.train.description,
            command=_command_line(),
            reopening={},
        )
        result = finetune(job)
        if result.was_interrupted:
            raise KeyboardInterrupt(f"Training was interrupted; to go on: resume_from={str(result.checkpoint)!r}")
        if is_main_process():
            push_run(work_dir, pushes, self.logger)

    def evaluate(
        self, checkpoint_path: str | None = None, *args: Any, **kwargs: Any
    ) -> dict[str, float | np.ndarray] | None:
        """Returns the metrics of eval_dataset in percent, e.g. {"accuracy_top-1": 88.4, "accuracy_top-5": 98.6}.

        checkpoint_path: weights, or a model folder. Without it: the best checkpoint of the run in work_dir, else its
        newest, else the weights that the trainer was made with. None in all processes but the first, which also
        writes report.html and report.json to work_dir.
        """
        if self.eval_dataset is None:
            raise SettingsError("Not found evaluate dataset, please set the 'eval_dataset' parameter!")
        trained, recipe = self._trained(checkpoint_path)
        if is_main_process():
            self.logger.info(f"Evaluating {trained.weights}")
        records = records_of(
            self.eval_dataset, class_names=trained.settings.class_names, data_prefix=self._data_prefix()
        )
        found = evaluate(trained, records, recipe, on_batch=_progress(self.logger))
        if not found.is_main:
            return None
        if found.reference is not None:
            self.logger.info(f"For comparison: {found.reference}")
        if isinstance(records, Records):
            report = write_evaluation(
                Path(self.work_dir), trained, found, records, source=self._source, command=_command_line()
            )
            self.logger.info(f"Report: {report}")
        return found.metrics

    @property
    def model(self) -> nn.Module:
        """The network with the weights that evaluate() would measure; pictures (N, 3, H, W) to logits (N, K)."""
        trained, _ = self._trained(None)
        return load_network(trained.settings.model, trained.weights)

    @property
    def meta(self) -> dict[str, Any]:
        """What the stock trainer keeps beside the weights: seed, exp_name, env_info and config, as text."""
        return {
            "seed": self.cfg.seed,
            "exp_name": Path(self.cfg_file).name,
            "env_info": environment_info(),
            "config": json.dumps(plain_configuration(self.cfg), default=str),
        }

    @property
    def eval_checkpoint_path(self) -> str:
        """The weights that evaluate() takes where nothing was trained."""
        return str(self._own_weights())

    def _read_configuration(
        self, arguments: TrainerArguments, seed: int, cfg_modify_fn: Callable[[Any], Any] | None
    ) -> None:
        """Sets cfg and what scripts read of it. A mistake in it is told here, before anything slow begins."""
        file = Path(self.cfg_file)
        self._push_settings = {"": {name: getattr(arguments, name, None) for name in PUSH_KEYS}}
        if file == Path(self.model_dir) / names.CONFIGURATION_FILE:
            content = complete_configuration(Path(self.model_dir), trust_remote_code=arguments.trust_remote_code)
        else:
            self._push_settings |= take_push_settings(self.cfg)
            content = with_training_sections(self.cfg.to_dict(), self.cfg_file)
        cfg = make_config(content, file, arguments, seed)
        self._original = plain_configuration(cfg)
        self.cfg = modified_config(cfg, cfg_modify_fn)
        self._pushes()
        self.max_epochs = set_max_epochs(self.cfg, arguments.max_epochs)
        self.work_dir: str = self.cfg.work_dir
        self.device: str = self.cfg.device
        read = read_for_evaluation if self.train_dataset is None else read_recipe
        read(plain_configuration(self.cfg), where=self._where(), original=self._original)

    def _pushes(self) -> list[HubPush]:
        """Returns where to push to, by everything that was said so far; the configuration no longer says it then."""
        self._push_settings |= take_push_settings(self.cfg)
        return read_pushes(self._push_settings)

    def _where(self) -> str:
        return f"The configuration {self.cfg_file}, as the script changed it,"

    def _start(self) -> Start:
        return Start(
            folder=Path(self.model_dir),
            weights=self._own_weights(),
            original=self._original,
            configuration=plain_configuration(self.cfg),
            where=self._where(),
            rule=self._rule,
        )

    def _own_weights(self) -> Path:
        """Returns the file of the weights that the trainer was made with; a given model is written to one first."""
        if self._given_model is None:
            return find_weight_file(Path(self.model_dir))
        if self._temporary_folder is None:
            self._temporary_folder = tempfile.TemporaryDirectory(prefix="beit-")
            network = self._given_model.cls_model
            file = Path(self._temporary_folder.name) / names.WRITTEN_WEIGHT_FILE
            write_weights(file, network.state_dict(), {"CLASSES": list(self._given_model.CLASSES)})
        return Path(self._temporary_folder.name) / names.WRITTEN_WEIGHT_FILE

    def _trained(self, checkpoint_path: str | None) -> tuple[Trained, Recipe]:
        """Returns the weights that count now, and how to evaluate them."""
        configuration = plain_configuration(self.cfg)
        settings, recipe = read_for_evaluation(configuration, original=self._original, where=self._where())
        folder = Path(self.model_dir)
        if checkpoint_path is None:
            weights = trained_weights(Path(self.work_dir)) or self._own_weights()
        else:
            weights = Path(checkpoint_path).expanduser()
            if weights.is_dir():
                folder, settings = weights, read_folder_settings(weights)
                weights = find_weight_file(folder)
        return describe_weights(weights, folder, settings), recipe

    def _open_data(self) -> TrainingData:
        prefix = self._data_prefix()
        train = records_of(self.train_dataset, class_names=self._classes(), data_prefix=prefix)
        if self.eval_dataset is None or self.cfg.get("no_validate", False):
            return TrainingData(train, None)
        validation = records_of(self.eval_dataset, class_names=train.class_names, data_prefix=prefix)
        if not isinstance(validation, Records):
            raise SettingsError(
                f"eval_dataset is a {type(self.eval_dataset).__name__}, a stream; while training, data with a length "
                "are expected. Load it without streaming, or set no_validate=True and call evaluate() afterwards."
            )
        return TrainingData(train, validation)

    def _classes(self) -> tuple[str, ...] | None:
        """Returns the class names that the configuration gives the data: a list, or a text file with one a line."""
        classes = self.cfg.dataset.get("classes")
        if classes is None or isinstance(classes, list | tuple):
            return None if classes is None else tuple(classes)
        beside = Path(self.model_dir) / classes
        return read_labels(beside if beside.is_file() else Path(classes).expanduser())

    def _data_prefix(self) -> str:
        return self.cfg.dataset.get("data_prefix") or ""


def _progress(logger: logging.Logger) -> Callable[[int], None]:
    """Returns a function that counts measured pictures and says now and then how many this process has seen."""
    start = last = time.monotonic()
    seen = 0

    def count(pictures: int) -> None:
        nonlocal last, seen
        seen += pictures
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            logger.info(f"{seen:,} pictures, {seen / (last - start):.1f} images/s")

    return count


def _command_line() -> str:
    """Returns what was typed to run the script, as far as a program can know."""
    return shlex.join([Path(sys.executable).name, *without_tokens(sys.argv)])


register_over(_STOCK_MODULE, TRAINERS, names.TRAINER_GROUP, [names.TRAINER], BeitImageClassificationTrainer)
