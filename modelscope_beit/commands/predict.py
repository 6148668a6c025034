"""Classify pictures: files, whole folders, URLs, or a list of them on standard input.

A few pictures are shown as a table, many as one line each; --json and --out are for programs.
A picture that cannot be read costs its own row only: the others are classified, and the exit status is 3.

Examples:
  beit predict embedded cat.jpg                      the small model that comes with the package
  beit predict damo/cv_beitv2-base_image-classification_patch16_224_pt1k_ft22k_in1k photos/ --out photos.csv
  beit predict my_model photos/ --draw labelled      the pictures again, each with its class on it
  beit predict my_model photos/ --out photos.csv --resume      goes on where a run of the same was stopped
  torchrun --nproc_per_node 4 -m modelscope_beit predict my_model photos/ --out photos.csv
  find . -name '*.jpg' | beit predict my_model - --json
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, islice, tee
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_beit.commands.inference_arguments import (
    add_inference_arguments,
    answering_as_wanted,
    inference_settings,
    needs_processor,
    tell_decoding_difference,
)
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.commands.predict_output import MOST_IN_A_TABLE, check_output, is_nothing_left, open_output
from modelscope_beit.errors import SettingsError
from modelscope_beit.images.downloading import is_url
from modelscope_beit.prediction.shards import own_device, own_shard
from modelscope_beit.prediction.sources import STANDARD_INPUT, expand_sources

if TYPE_CHECKING:
    from modelscope_beit.model_folder.opening import OpenedModel
    from modelscope_beit.prediction.stream import Prediction

SOME_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, SOURCE... and how to classify and where to write."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, an exported one, a hub id, or the word embedded")
    add("sources", metavar="SOURCE", nargs="+", help="a picture, a folder, a URL, or - for a list on standard input")
    add("--topk", type=int, default=5, help="classes told per picture (default: 5)")
    add("--batch-size", type=int, default=32, help="pictures per pass through the network (default: 32)")
    add("--out", type=Path, metavar="FILE", help="write a table: FILE ends in .csv, .jsonl or .parquet")
    add("--draw", type=Path, metavar="DIR", help="write each picture, with its class drawn on it, to a new folder")
    add("--resume", action="store_true", help="keep the rows that a stopped run of the same has left, and go on")
    add("--json", action="store_true", help="print one line of JSON per picture")
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps ... (default: a GPU if there is one)")
    add_inference_arguments(parser)
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="threads that decode, and as many that draw (default: one per processor, at most 8)")  # fmt: skip
    add("--engine", choices=("local", "ray"), default="local", help="who computes: this process (default), or Ray Data")
    add("--trust-remote-code", action="store_true", help="allow a model folder to run code of its own")


def run(arguments: argparse.Namespace) -> int:
    """Classifies the sources and returns 0, or 3 if some pictures could not be classified.

    Raises BeitError before any picture is read if the model, a source or an option cannot be used.
    """
    shard = own_shard()
    if inference_settings(arguments).is_a_choice and (shard.count > 1 or arguments.engine == "ray"):
        raise SettingsError(
            "With auto as precision or backend several processes may choose differently, and the table would mix their "
            "answers. Let one choose on a few pictures first, and name what it says, e.g. --precision fp32."
        )
    check_output(arguments, shard)
    if is_nothing_left(arguments):
        return 0
    if STANDARD_INPUT in arguments.sources and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # File names need not be UTF-8.
    sources = shard.of(expand_sources(arguments.sources, sys.stdin), arguments.batch_size)
    folder = local_path(arguments.model)

    # Deferred, so that help and wrong usage are told at once: this brings torch.
    from modelscope_beit.export.opening import open_model_or_export

    device, trust = _device(arguments, folder), arguments.trust_remote_code
    model = open_model_or_export(folder, device=device, trust_remote_code=trust)
    if arguments.engine != "ray":
        model = answering_as_wanted(model, arguments)
    arguments.topk = min(arguments.topk, len(model.class_names))
    with open_output(arguments, shard, model.folder, with_unknown=model.confidence is not None) as output:
        sources = output.remaining(sources)
        first = list(islice(sources, MOST_IN_A_TABLE + 1))
        if shard.rank == 0:
            # The network is not asked: that would take longer than decoding saves. beit evaluate asks it.
            local = [source for source in first if not is_url(source)]
            tell_decoding_difference(model, local, arguments, with_answers=False)
        with closing(_predictions(model, chain(first, sources), arguments)) as predictions:
            output.show(predictions, is_long=len(first) > MOST_IN_A_TABLE)
    return SOME_FAILED if output.has_failed else 0


def _device(arguments: argparse.Namespace, folder: Path) -> str:
    """The device of this process."""
    # Deferred for the same reason.
    from modelscope_beit.export.opening import exported_folder
    from modelscope_beit.network.device import find_device

    if arguments.engine == "ray":
        # The workers have the device, and this process only needs what the model says of itself.
        return "cpu"
    if arguments.device == "auto" and (needs_processor(arguments) or exported_folder(folder) is not None):
        return "cpu"
    return own_device(str(find_device(arguments.device)))


def _predictions(
    model: "OpenedModel", sources: Iterator[str], arguments: argparse.Namespace
) -> "Generator[Prediction, None, None]":
    """The predictions; with --draw, each when its picture has been drawn."""
    # Deferred for the same reason.
    from modelscope_beit.prediction.stream import predict_stream

    options = {
        "batch_size": arguments.batch_size,
        "workers": arguments.workers,
        "topk": arguments.topk,
        "fast_decode": arguments.fast_decode,
    }
    sources, again = tee(sources)
    if arguments.engine == "ray":
        from modelscope_beit.prediction.ray_engine import predict_on_ray

        gpus = int(arguments.device.startswith(("cuda", "gpu")))
        predictions = predict_on_ray(_opener(model.folder, arguments), sources, gpus_per_worker=gpus, **options)
    else:
        predictions = predict_stream(model, sources, **options)
    if arguments.draw is None:
        return predictions
    from modelscope_beit.prediction.drawing import draw_predictions

    return draw_predictions(predictions, again, arguments.draw, model.class_names, workers=arguments.workers)


def _opener(folder: Path, arguments: argparse.Namespace) -> "Callable[[], OpenedModel]":
    """What a worker of Ray's calls, in a process of its own. It sees only its own GPU, whatever the number of that."""
    # Deferred for the same reason.
    from modelscope_beit.prediction.answering import open_answering

    return partial(
        open_answering,
        folder,
        inference_settings(arguments),
        batch_size=arguments.batch_size,
        device=arguments.device.partition(":")[0],
        trust_remote_code=arguments.trust_remote_code,
    )
