"""Go on with a run that was interrupted, killed or is to become longer: same model, data and settings.

RUN is the folder that `beit train`, `beit tokenizer` or `beit pretrain` wrote. The run goes on from its newest
checkpoint that can be read, also from the middle of an epoch, and ends with the weights that it would have had without
the interruption.

Examples:
  beit resume runs/photos
  beit resume runs/photos --set epochs=40
"""

import argparse
import time
from pathlib import Path

from modelscope_beit.commands.pretraining_run import is_pretraining_run, resume_stage
from modelscope_beit.commands.train import add_settings
from modelscope_beit.errors import SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds RUN and the settings that are to change."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of the run")
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trains on and returns 0, or 130 after an interruption; of pre-training 4 if the gate says stop.

    Raises BeitError for what a person can mend.
    """
    if is_pretraining_run(arguments.run):
        if arguments.dry_run:
            raise SettingsError(f"{arguments.run} is a run of pre-training, which has no dry run.")
        return resume_stage(arguments.run, arguments.set)

    # Deferred, so that help and wrong usage are told at once: these bring torch.
    from modelscope_beit.commands.training_view import train_and_tell
    from modelscope_beit.training.reopening import resume_job

    job = resume_job(arguments.run, arguments.set, timestamp=time.strftime("%Y%m%d_%H%M%S"))
    return train_and_tell(job, is_dry_run=arguments.dry_run)
