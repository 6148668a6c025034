"""What the commands that classify share: in which numbers the network answers, and what runs it."""

import argparse
import sys
from typing import TYPE_CHECKING

from modelscope_beit.settings.inference import BACKENDS, PRECISIONS, TORCH, InferenceSettings

if TYPE_CHECKING:
    from modelscope_beit.model_folder.opening import OpenedModel


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --precision, --backend and --calibration."""
    add = parser.add_argument
    add("--precision", choices=PRECISIONS, default="fp32",
        help="numbers to compute in (default: fp32, exact); auto: the fastest that stays close")  # fmt: skip
    add("--backend", choices=BACKENDS, default=TORCH, help="what runs the network (default: torch)")
    add("--calibration", metavar="DIR", default="",
        help="pictures that int8 takes its ranges from (default: each batch is measured as it comes)")  # fmt: skip


def inference_settings(arguments: argparse.Namespace) -> InferenceSettings:
    """Returns what was asked for; raises SettingsError if it cannot be."""
    return InferenceSettings(arguments.precision, arguments.backend, arguments.calibration or ())


def answering_as_wanted(model: "OpenedModel", arguments: argparse.Namespace) -> "OpenedModel":
    """Returns the model with a network that answers as was asked for; says on stderr what "auto" has chosen.

    Raises SettingsError if it cannot.
    """
    wanted = inference_settings(arguments)
    if wanted == InferenceSettings():
        return model
    # Deferred, so that nothing is loaded that is not needed: this brings the writers of exports.
    from modelscope_beit.prediction.answering import answering_model

    return answering_model(
        model, wanted, batch_size=arguments.batch_size, on_choice=lambda choice: print(choice, file=sys.stderr)
    )
