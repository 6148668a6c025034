"""The keywords of the trainer's constructor: those of ModelScope's stock trainer, each of them used or refused."""

import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.distributed

from modelscope_beit.errors import SettingsError
from modelscope_beit.plugin.preprocessor import (
    ImageClassificationBypassPreprocessor,
    ImageClassificationMmcvPreprocessor,
)
from modelscope_beit.recipe_rules.applying import RULES
from modelscope_beit.settings.problems import shown

_logger = logging.getLogger(__name__)

# What the constructor takes by name, besides the fields of TrainerArguments.
_OTHER_KEYWORDS = (
    "model cfg_file arg_parse_fn data_collator train_dataset eval_dataset preprocessor optimizers model_revision seed "
    "cfg_modify_fn"
).split()
# What torchrun tells its processes.
_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_OWN_PREPROCESSORS = (ImageClassificationBypassPreprocessor, ImageClassificationMmcvPreprocessor)


@dataclass(frozen=True)
class TrainerArguments:
    """The keywords that end up in the configuration; None: not given.

    fp16: True, or mmcv's mapping such as {"loss_scale": 512.0}. gpu_ids: only the first one is used.
    launcher: "pytorch" for processes that torchrun started.
    dist_params: for torch.distributed, e.g. {"backend": "gloo"}.
    recipe: "auto" or "bit", the rule that chooses the recipe; what cfg_modify_fn changes goes before it.
    no_validate: True: no evaluation while training. deterministic: True: the same numbers in every run, on a GPU too.
    push_to_hub and the four after it: as ModelScope's CheckpointHook has them; see plugin/trainer_pushing.py.
    """

    work_dir: str | None = None
    resume_from: str | None = None
    load_from: str | None = None
    device: str | None = None
    gpu_ids: Sequence[int] | None = None
    fp16: bool | Mapping[str, Any] | None = None
    no_validate: bool = False
    max_epochs: int | None = None
    launcher: str | None = None
    dist_params: Mapping[str, Any] | None = None
    deterministic: bool = False
    trust_remote_code: bool = False
    recipe: str | None = None
    push_to_hub: bool = False
    hub_repo_id: str | None = None
    hub_token: str | None = field(default=None, repr=False)
    private_hub: bool = True
    hub_revision: str | None = None


def read_arguments(keywords: Mapping[str, Any]) -> TrainerArguments:
    """Returns the keywords that the constructor does not name itself.

    Raises SettingsError that lists every unknown keyword, with the nearest known one, and every unusable value.
    """
    known = [one.name for one in fields(TrainerArguments)]
    problems = []
    for name in keywords:
        if name not in known:
            nearest = difflib.get_close_matches(name, [*known, *_OTHER_KEYWORDS], n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join([*_OTHER_KEYWORDS, *known])}"
            problems.append(f"{name}={shown(keywords[name])}: the trainer has no such argument; {hint}")
    given = {name: _path_as_text(value) for name, value in keywords.items() if name in known}
    arguments = TrainerArguments(**given)
    problems += _unusable(arguments)
    if problems:
        raise SettingsError("\n- ".join(["These arguments of the trainer cannot be used:", *problems]))
    return arguments


def refuse_unused_objects(*, data_collator: Any, preprocessor: Any, optimizers: Any) -> None:
    """Raises SettingsError for objects that the stock trainer would take and never use.

    A preprocessor of a model folder may come: the configuration says the same.
    """
    problems = []
    if data_collator is not None:
        problems.append("data_collator: batches are put together by the trainer itself; leave it out.")
    preprocessors = list(preprocessor.values()) if isinstance(preprocessor, Mapping) else [preprocessor]
    if any(one is not None and not isinstance(one, _OWN_PREPROCESSORS) for one in preprocessors):
        problems.append(
            "preprocessor: pictures are prepared by the steps under preprocessor.train and preprocessor.val of the "
            "configuration; change them there (cfg_modify_fn) and leave it out."
        )
    if any(one is not None for one in (optimizers if isinstance(optimizers, Sequence) else [optimizers])):
        problems.append(
            "optimizers: the trainer makes them from train.optimizer and train.lr_config of the configuration; set "
            "these (cfg_modify_fn) and leave it out."
        )
    if problems:
        raise SettingsError("\n- ".join(["These arguments of the trainer would have no effect:", *problems]))


def is_distributed(arguments: TrainerArguments) -> bool:
    """Tells whether several processes train together: with a launcher, or started by torchrun without one."""
    return arguments.launcher is not None or int(os.environ.get("WORLD_SIZE", "1")) > 1


def start_processes(arguments: TrainerArguments) -> None:
    """Opens torch.distributed with dist_params, if these say how; otherwise that is left to Accelerate."""
    params = dict(arguments.dist_params or {})
    if not params or not is_distributed(arguments) or torch.distributed.is_initialized():
        return
    if params.get("backend") == "nccl" and not torch.cuda.is_available():
        _logger.warning("dist_params asks for the backend nccl, which needs GPUs; gloo is used.")
        params["backend"] = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group(**params)


def _unusable(arguments: TrainerArguments) -> list[str]:
    problems = []
    for name in ("work_dir", "resume_from", "load_from", "device"):
        value = getattr(arguments, name)
        if value is not None and (not isinstance(value, str) or not value):
            problems.append(f"{name}={shown(value)}: a text is expected")
    if arguments.recipe is not None and arguments.recipe not in tuple(RULES):
        problems.append(f"recipe={shown(arguments.recipe)}: {' or '.join(map(repr, RULES))} is expected")
    if arguments.fp16 is not None and not isinstance(arguments.fp16, bool | Mapping):
        problems.append(
            f"fp16={shown(arguments.fp16)}: True, False or a mapping such as {{'loss_scale': 512.0}} is expected"
        )
    epochs = arguments.max_epochs
    if epochs is not None and (type(epochs) is not int or epochs < 1):
        problems.append(f"max_epochs={shown(epochs)}: a whole number from 1 on is expected")
    gpu_ids = arguments.gpu_ids
    if gpu_ids is not None and not (
        isinstance(gpu_ids, list | tuple | range) and all(type(one) is int for one in gpu_ids)
    ):
        problems.append(f"gpu_ids={shown(gpu_ids)}: a list of numbers is expected")
    return problems + _unusable_launcher(arguments)


def _unusable_launcher(arguments: TrainerArguments) -> list[str]:
    launcher = arguments.launcher
    if launcher is None:
        return []
    if launcher != "pytorch":
        return [
            f"launcher={shown(launcher)}: 'pytorch' is expected. Start the processes with torchrun, under Slurm too"
        ]
    missing = [name for name in _TORCHRUN_VARIABLES if name not in os.environ]
    if missing:
        return [
            f"launcher='pytorch': the environment lacks {', '.join(missing)}, which torchrun sets. Start the script "
            "with `torchrun --nproc_per_node NUMBER -m modelscope_beit run SCRIPT`, or leave launcher out"
        ]
    return []


def _path_as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value
