"""Fine-tune a model on pictures: a run folder with checkpoints, curves, a report, and a model that pipeline() opens.

DATA is a folder of class folders (split into train and val or not), a csv, tsv or jsonl file (path, label), a folder of
parquet files, or the id of a data set. Data that come in one part are divided, a fifth for validation.
Ctrl-C finishes the step at hand, saves, and says how to go on; the exit status is then 130.

Examples:
  beit train embedded photos/ --out runs/photos --epochs 10
  beit train my_model photos/ --set drop_path=0.2 --set mixup=0.8 --set train.lr_config.warmup_iters=3 --dry-run
  beit train my_model photos/ --recipe bit --set iterations=200 --dry-run
  torchrun --nproc_per_node 2 -m modelscope_beit train my_model photos/ --out runs/photos
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.errors import SettingsError
from modelscope_beit.recipe_rules.applying import named_paths
from modelscope_beit.settings.hub_push import without_tokens
from modelscope_beit.settings.overrides import apply_overrides, short_keys_help

# Option -> the short key that it sets.
_SHORT_OPTIONS = ("epochs", "batch_size", "lr", "device", "precision", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, DATA, where the run goes, and the settings."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, a run, a weight file, a hub id, or the word embedded")
    add("data", metavar="DATA", help="a folder, a file, or the id of a data set")
    add("--out", type=Path, metavar="RUN", help="the run folder (default: runs/DATA_TIME)")
    add_settings(parser)
    add("--epochs", type=int, help="passes over the training pictures")
    add("--batch-size", type=int, help="pictures a batch and process")
    add("--lr", type=float, help="peak learning rate")
    add("--device", help="auto, cpu, cuda, cuda:1 ... (default: auto, a GPU if there is one)")
    add("--precision", choices=["auto", "fp32", "bf16", "fp16"], help="default: auto, bf16 where the hardware has it")
    add("--seed", type=int, help="of everything that is random (default: 0)")
    add("--config", type=Path, metavar="FILE", help="a configuration whose recipe takes the place of the model's own")
    add(
        "--recipe",
        choices=["auto", "bit"],
        help="let a rule choose the recipe by weights, data and device: auto (BEiT v2's, for it and its kin) or bit "
        "(BigTransfer's); --set goes before it, and RUN/recipe.json is what it chose",
    )
    add("--no-validate", action="store_true", help="do not evaluate while training")
    add("--trust-remote-code", action="store_true", help="allow a model folder to run code of its own")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds what `train` and `resume` share: any setting, and the dry run."""
    keys = short_keys_help().replace("%", "%%")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of the configuration by its path, e.g. train.optimizer.weight_decay=0.1, or by a short key",
    )
    parser.add_argument("--dry-run", action="store_true", help="tell recipe, steps, memory and time, and do not train")
    parser.epilog = f"{parser.epilog or ''}\nshort keys of --set:\n{keys}"


def run(arguments: argparse.Namespace) -> int:
    """Trains and returns 0, or 130 after an interruption. Raises BeitError for what a person can mend."""
    timestamp = time.strftime("%Y%m%d_%H%M%S")
    if arguments.out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError(
            "Several processes need one folder for their run, and each has a clock of its own: give --out."
        )
    if arguments.config is not None and arguments.recipe is not None:
        raise SettingsError("--config takes a recipe and --recipe makes one: give one of them, and change it by --set.")
    out: Path = arguments.out or Path("runs") / f"{Path(arguments.data).name or 'data'}_{timestamp}"
    folder = local_path(arguments.model)

    # Deferred, so that help and wrong usage are told at once: these bring torch.
    from modelscope_beit.commands.training_view import train_and_tell
    from modelscope_beit.model_folder.opening import find_weight_file
    from modelscope_beit.training.preparation import Start, make_job, prepare
    from modelscope_beit.training.processes import is_main_process
    from modelscope_beit.training.reopening import (
        keep_division,
        keep_recipe,
        open_training_data,
        refuse_to_replace,
        reopening_facts,
    )
    from modelscope_beit.training.start_configuration import complete_configuration, with_recipe_of

    if not arguments.dry_run:
        refuse_to_replace(out)
    original = complete_configuration(folder, trust_remote_code=arguments.trust_remote_code)
    configuration = original if arguments.config is None else with_recipe_of(original, arguments.config)
    overrides = _overrides(arguments)
    configuration = apply_overrides(configuration, overrides)
    start = Start(
        folder,
        folder if folder.is_file() else find_weight_file(folder),
        original,
        configuration,
        f"{folder} with the options given",
        rule=arguments.recipe,
        named=named_paths(apply_overrides({}, overrides)),
    )
    prepared = prepare(start, lambda: open_training_data(arguments.data, seed=start.seed))
    if not arguments.dry_run and is_main_process():
        keep_division(prepared.data, out)
        keep_recipe(prepared, out)
    job = make_job(
        prepared,
        work_dir=out,
        timestamp=timestamp,
        source=arguments.model,
        data=arguments.data,
        command=shlex.join([names.COMMAND, *without_tokens(sys.argv[1:])]),
        reopening=reopening_facts(prepared, data=_lasting(arguments.data), seed=start.seed),
    )
    return train_and_tell(job, is_dry_run=arguments.dry_run)


def _overrides(arguments: argparse.Namespace) -> list[str]:
    """Returns all settings as KEY=VALUE; what --set says comes last, so it wins."""
    given = [f"{name}={getattr(arguments, name)}" for name in _SHORT_OPTIONS if getattr(arguments, name) is not None]
    return [*given, *(["no_validate=true"] if arguments.no_validate else []), *arguments.set]


def _lasting(data: str) -> str:
    """Returns a location that means the same from another working directory."""
    path = Path(data).expanduser()
    return str(path.absolute()) if path.exists() else data
