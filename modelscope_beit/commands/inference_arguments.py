"""What the commands that classify share: how pictures are read, in which numbers the network answers, what runs it."""

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from modelscope_beit.settings.inference import BACKENDS, PRECISIONS, RUNTIMES, TORCH, InferenceSettings

if TYPE_CHECKING:
    from modelscope_beit.model_folder.opening import OpenedModel


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --precision, --backend, --calibration and --fast-decode."""
    add = parser.add_argument
    add("--precision", choices=PRECISIONS, default="fp32",
        help="numbers to compute in (default: fp32, exact); auto: the fastest that stays close")  # fmt: skip
    add("--backend", choices=BACKENDS, default=TORCH,
        help="what runs the network (default: torch); auto: the fastest that is installed")  # fmt: skip
    add("--calibration", metavar="DIR", default="",
        help="pictures that int8 takes its ranges from (default: each batch is measured as it comes)")  # fmt: skip
    add("--fast-decode", action="store_true",
        help="read and resize faster; pixels may be off a little, and how much is said on stderr")  # fmt: skip


def inference_settings(arguments: argparse.Namespace) -> InferenceSettings:
    """Returns what was asked for; raises SettingsError if it cannot be."""
    return InferenceSettings(arguments.precision, arguments.backend, arguments.calibration or ())


def needs_processor(arguments: argparse.Namespace) -> bool:
    """Returns whether what was asked for runs on processors only, so that the device "auto" has to be one."""
    return arguments.precision == "int8" or arguments.backend in RUNTIMES


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


def tell_decoding_difference(
    model: "OpenedModel", sources: Iterable[Any], arguments: argparse.Namespace, *, with_answers: bool
) -> None:
    """With --fast-decode, says on stderr how it differs from exact decoding on the first pictures.

    with_answers: also how often the best class is the same, which the network has to be asked for.
    Raises SettingsError if the model's steps have no fast way.
    """
    if not arguments.fast_decode:
        return
    # Deferred for the same reason.
    from modelscope_beit.evaluation.decoding_difference import decoding_difference

    if found := decoding_difference(model, sources, with_answers=with_answers):
        print(found, file=sys.stderr)
