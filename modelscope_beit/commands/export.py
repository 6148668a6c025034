"""Write a model for another runtime: a folder with the file, and with all that is needed to use and to check it.

The folder holds the network's file, preprocessing.json (what is done to a picture), the class names, real pictures with
what the network answers to them, and a certificate: how far each runtime's answers are from the network's in float32.
If they are further away than --tolerance, nothing is written. Batches may have any number of pictures. Beside ONNX
files lies classify.py, 40 lines that need onnxruntime, Pillow and numpy only.

Examples:
  beit export embedded --to onnx --out garments
  beit export my_model --to openvino --int8 --calibration photos/ --out my_model_int8
  beit verify garments                                                     anywhere, without the model
  beit predict garments boot.jpg
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelscope_beit import names
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.errors import SettingsError
from modelscope_beit.export.targets import LOWEST_OPSET, TARGETS, ExportRequest
from modelscope_beit.prediction.sources import expand_sources

# Enough for the ranges of activations; more only take time.
_CALIBRATION_PICTURES = 256
_UNUSED_SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, the target, and what it is to be like."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, a hub id, or the word embedded")
    add("--to", choices=list(TARGETS), required=True, help="the kind of file")
    add("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--fp16", action="store_true", help="in float16: half the size")
    precision.add_argument("--int8", action="store_true", help="in 8-bit integers (onnx, openvino): a quarter")
    add("--calibration", metavar="DATA", help="pictures that --int8 takes its ranges from: such as the model is for")
    add("--dynamic-size", action="store_true", help="for pictures of any size, where the network can")
    add("--opset", type=int, default=LOWEST_OPSET, metavar="N", help=f"of ONNX's operators ({LOWEST_OPSET})")
    add("--tolerance", type=float, metavar="X", help="largest difference of a logit that is let pass, in place of a "
        "share of their spread and nine of ten best classes")  # fmt: skip
    add("--trust-remote-code", action="store_true", help="allow a model folder to run code of its own")


def run(arguments: argparse.Namespace) -> int:
    """Exports, prints the certificate and returns 0. Raises BeitError, with nothing written, if that cannot be done."""
    request = ExportRequest(
        to=arguments.to,
        precision="int8" if arguments.int8 else "fp16" if arguments.fp16 else "fp32",
        dynamic_size=arguments.dynamic_size,
        opset=arguments.opset,
        calibration=() if arguments.calibration is None else _pictures(arguments.calibration),
        tolerance=arguments.tolerance,
        command=_command(arguments),
    )
    folder = local_path(arguments.model)

    # Deferred, so that help and wrong usage are told at once: these bring torch and rich.
    from modelscope_beit.commands.facts_view import print_facts
    from modelscope_beit.export.writing import export_model
    from modelscope_beit.model_folder.opening import open_model

    model = open_model(folder, trust_remote_code=arguments.trust_remote_code)
    certificate = export_model(model, arguments.out, request)
    print_facts(str(arguments.out), certificate.in_words())
    return 0


def _pictures(data: str) -> Sequence[Any]:
    """Returns some pictures of the data, evenly chosen."""
    if Path(data).expanduser().is_dir():
        found: Sequence[Any] = list(expand_sources([data]))
        step = max(1, len(found) // _CALIBRATION_PICTURES)
        return found[::step][:_CALIBRATION_PICTURES]

    # Deferred for the same reason: this brings torch.
    from modelscope_beit.data.sources import open_data

    parts = open_data(data, seed=_UNUSED_SEED, divide=False)
    records = parts.train or parts.validation
    if records is None:
        raise SettingsError(f"--calibration {data} has no pictures.")
    step = max(1, len(records) // _CALIBRATION_PICTURES)
    return [records[row].image for row in range(0, len(records), step)][:_CALIBRATION_PICTURES]


def _command(arguments: argparse.Namespace) -> str:
    """Returns the command as it may be given again."""
    words = [names.COMMAND, "export", arguments.model, "--to", arguments.to]
    words += [f"--{name}" for name in ("fp16", "int8") if getattr(arguments, name)]
    words += ["--dynamic-size"] if arguments.dynamic_size else []
    if arguments.opset != LOWEST_OPSET:
        words += ["--opset", str(arguments.opset)]
    for name in ("calibration", "tolerance"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name}", str(value)]
    return shlex.join([*words, "--out", str(arguments.out)])
