"""The trainers that ModelScope builds for BEiT v2's own two stages: `beitv2-tokenizer` and `beitv2-pretraining`."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelscope.trainers.base import BaseTrainer
from modelscope.trainers.builder import TRAINERS
from modelscope.utils.config import Config

from modelscope_beit import names
from modelscope_beit.data.unlabelled import pictures_of
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.finding import find_model_folder, looks_like_hub_id
from modelscope_beit.plugin.hub import download_model
from modelscope_beit.plugin.trainer_configuration import plain_configuration
from modelscope_beit.pretraining.job import PretrainingResult
from modelscope_beit.pretraining.opening import RunPlace, open_pretraining_job
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.settings.pretraining_configuration import MASKED, TOKENIZER, StageName


class BeitPretrainingTrainer(BaseTrainer):
    """Masked image modelling, on pictures without labels.

    train_dataset: where the pictures are, as `beit pretrain` takes it; or an MsDataset, a data set of datasets, or a
        list of rows with a picture. None: cfg.data.
    work_dir: the run folder. cfg_file: a configuration as in configs/; None: the published one.
    cfg_modify_fn: gets the configuration and changes it, in place or by returning another one; there the tokenizer is
        named: cfg.sources.tokenizer. resume: go on from the newest checkpoint in work_dir.
    trust_remote_code: the host always names it; nothing of others' code is run here. An unknown keyword is an error.

    cfg: the configuration; what a script changes in it before train() counts.
    """

    stage: StageName = MASKED
    cfg: Config

    def __init__(
        self,
        train_dataset: Any = None,
        work_dir: str = "",
        cfg_file: str | None = None,
        cfg_modify_fn: Callable[[Any], Any] | None = None,
        *,
        resume: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        # The host's own __init__ only reads a configuration, which must be a file.
        if not work_dir:
            raise SettingsError("work_dir is missing: name a folder for the run.")
        self.work_dir, self.train_dataset, self._is_resumed = work_dir, train_dataset, resume
        self.timestamp = time.strftime("%Y%m%d_%H%M%S")
        self._where = cfg_file or "the published configuration, as the script changed it,"
        empty: dict[str, Any] = {name: {} for name in ("sources", "tokenizer", "masked", "crops", "run")}
        empty["stage"] = self.stage
        self.cfg = Config(empty) if cfg_file is None else Config.from_file(cfg_file)
        if cfg_modify_fn is not None:
            self.cfg = cfg_modify_fn(self.cfg) or self.cfg

    def train(self, *args: Any, **kwargs: Any) -> PretrainingResult:
        """Trains until the end of the recipe, and returns how it ended, with what the gate says.

        Raises SettingsError before the first step if data or settings cannot be used; KeyboardInterrupt after a signal,
        when the state has been saved.
        """
        configuration = self._configuration()
        place = RunPlace(
            Path(self.work_dir), self.timestamp, shlex.join([Path(sys.executable).name, *sys.argv]), self._is_resumed
        )
        pictures = None
        if self.train_dataset is not None and not isinstance(self.train_dataset, str | Path):
            name = f"train_dataset, a {type(self.train_dataset).__name__},"
            rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
            pictures = pictures_of(self.train_dataset, name=name, rank=rank, world_size=world_size)
        job = open_pretraining_job(
            configuration, place, where=self._where, pictures=pictures, find_model=_folder_of_teacher
        )
        result = pretrain(job)
        if result.was_interrupted:
            raise KeyboardInterrupt(f"Pre-training was interrupted; to go on: resume=True, work_dir={self.work_dir!r}")
        return result

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Raises SettingsError: a stage is measured by its gauges while it is trained."""
        raise SettingsError(
            "A stage of pre-training is measured by its gauges (metrics.csv, report.html), not by evaluate(). Its "
            f"features are measured by {names.COMMAND} probe."
        )

    def _configuration(self) -> dict[str, object]:
        """Returns what cfg says now, without sections that stayed empty and are of the other stage."""
        content = plain_configuration(self.cfg)
        if isinstance(self.train_dataset, str | Path):
            content["data"] = str(self.train_dataset)
        return {name: value for name, value in content.items() if not (isinstance(value, Mapping) and not value)}


class BeitTokenizerTrainer(BeitPretrainingTrainer):
    """The tokenizer (VQ-KD); keywords as of BeitPretrainingTrainer. cfg.teacher names the teacher."""

    stage: StageName = TOKENIZER


def _folder_of_teacher(model: str) -> Path:
    """Returns the folder of a model that our pipeline opens; one of the hub is downloaded."""
    return download_model(model) if looks_like_hub_id(model) else find_model_folder(model)


for built in (BeitTokenizerTrainer, BeitPretrainingTrainer):
    TRAINERS.register_module(names.TRAINER_GROUP, module_name=names.PRETRAINING_TRAINERS[built.stage], module_cls=built)
