"""Teach a BEiT v2 to guess the codes of hidden patches: masked image modelling, the second stage of pre-training.

TOKENIZER is the folder of a run of `beit tokenizer`, its file, or one of unilm's released tokenizers. DATA is a folder
of pictures in any depth, parquet files, tar shards (webdataset), or the id of a data set; labels are not looked at.
What is not said is as published (base, 300 epochs, 2,048 pictures a step on 16 GPUs). Ctrl-C finishes the step at hand
and saves; `beit resume RUN` goes on. At the end a gate says go on, or stop and why; the exit status is then 4.
Afterwards `beit train RUN LABELLED_DATA` fine-tunes what was learned.

Examples:
  beit pretrain photos/ --tokenizer runs/tokenizer --out runs/pretrained
  beit pretrain photos/ --tokenizer vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth --size large
  beit pretrain photos/ --tokenizer runs/tokenizer --size tiny --epochs 50 --crops 4 --codes kept/ --labelled flowers/
  torchrun --nproc_per_node 8 -m modelscope_beit pretrain shards/ --tokenizer t.pth --iterations 187500 --out runs/base
"""

import argparse
from pathlib import Path

from modelscope_beit.commands.pretraining_run import add_run_arguments, configuration_of, run_stage
from modelscope_beit.settings.model import ARCHITECTURES
from modelscope_beit.settings.pretraining_configuration import MASKED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds DATA, the tokenizer, the sizes, and how the run is made."""
    add_run_arguments(parser)
    add = parser.add_argument
    add("--tokenizer", type=Path, metavar="TOKENIZER", help="whose codes are guessed: a file, or the folder of a run")
    add("--start", type=Path, metavar="FILE", help="weights to begin from, of unilm or ours (default: fresh ones)")
    add("--size", choices=list(ARCHITECTURES), help="of the network (default: base)")
    add("--image-size", type=int, metavar="PIXELS", help="side of the crops (default: 224)")
    add("--patch-size", type=int, metavar="PIXELS", help="side of a patch (default: 16)")
    add("--num-codes", type=int, metavar="K", help="codes of the tokenizer (default: as many as it has)")
    add(
        "--drop-path",
        type=float,
        help="stochastic depth of the last block (default: 0; for 1600 epochs: 0.1)",
    )
    add("--crops", type=int, metavar="N", help="so many crops of each picture, always the same (default: new ones)")
    add("--codes", type=Path, metavar="DIR", help="keep the codes there; only with --crops")


def run(arguments: argparse.Namespace) -> int:
    """Trains and returns 0, 130 after an interruption, or 4 if the gate says stop.

    Raises BeitError for what a person can mend.
    """
    changes = {
        **{f"sources.{name}": _lasting(getattr(arguments, name)) for name in ("tokenizer", "start", "codes")},
        "masked.size": arguments.size,
        "masked.image_size": arguments.image_size,
        "masked.patch_size": arguments.patch_size,
        "masked.num_visual_tokens": arguments.num_codes,
        "masked.drop_path": arguments.drop_path,
        "masked.views.num_crops": arguments.crops,
    }
    return run_stage(arguments, *configuration_of(arguments, MASKED, changes))


def _lasting(path: Path | None) -> str | None:
    """Returns a path that means the same from another working directory."""
    return None if path is None else str(path.expanduser().absolute())
