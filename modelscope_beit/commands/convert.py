"""Turn weights of another library into a model folder that ModelScope's pipeline() opens, or back.

SOURCE is a weight file of unilm, timm, transformers, mmcls, mmpretrain or ModelScope, or a folder of transformers,
timm or ModelScope. TARGET is written as a whole or not at all, and read back. The same pictures go through ours and
through the library that the weights come from or are written for, and the largest difference of the logits is told.
The exit status is 1 if it is more than rounding.

Examples:
  beit convert beitv2_base_patch16_224_pt1k_ft21kto1k.pth my_model
  beit convert my_model my_model_384 --size 384
  beit convert pets.safetensors my_model --labels pets.txt
  beit convert my_model for_timm --to timm
  beit convert beit-base-finetuned-ade-640-640 my_segmentation        a BeitForSemanticSegmentation of transformers
  beit convert BiT-M-R50x1-ILSVRC2012.npz my_bit                      a convolutional network, built by timm
  beit convert my_bit.pth my_bit --arch resnetv2_50x1_bit --labels pets.txt
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.errors import SettingsError

if TYPE_CHECKING:
    from modelscope_beit.checkpoints.proof import Proof
    from modelscope_beit.model_folder.conversion import Converted

_DIFFERS = 1
# Rounding of float32 through 40 blocks stays below it; a wrong weight, norm or bias does not.
_MOST_ROUNDING = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds SOURCE, TARGET and what is to be different from the source."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a weight file, a folder, a hub id, or the word embedded")
    add("target", metavar="TARGET", type=Path, help="a new folder (with --to unilm: a new file)")
    add("--to", choices=["modelscope", "unilm", "timm", "transformers"], default="modelscope", help="(modelscope)")
    add("--labels", type=Path, metavar="FILE", help="class names, one a line; needed where nobody knows them")
    add("--size", metavar="N or HxW", help="change the pictures' size in pixels; positions are interpolated")
    add("--family", choices=["beitv2", "beit", "vit", "deit"], help="what a bare file is, if its name does not tell")
    add("--arch", metavar="NAME", help="timm's name of the convolutional network in a bare file")
    add("--num-classes", type=int, metavar="N", help="classes of the fresh head that weights without one get")
    add("--trust-remote-code", action="store_true", help="allow the config.py of a model folder to be run")
    add("--overwrite", action="store_true", help="replace a model folder or unilm file that is there")


def run(arguments: argparse.Namespace) -> int:
    """Converts, prints the proof and returns 0, or 1 if the networks differ by more than rounding.

    Raises BeitError before anything is written if the source, the target or an option cannot be used.
    """
    image_size = None if arguments.size is None else _image_size(arguments.size)
    source = local_path(arguments.source)

    # Deferred, so that help and wrong usage are told at once: these bring torch and rich.
    from modelscope_beit.commands.facts_view import print_facts
    from modelscope_beit.model_folder.conversion import ConversionRequest, convert
    from modelscope_beit.model_folder.segmentation import segmentation_kind
    from modelscope_beit.model_folder.segmentation_conversion import convert_segmentation
    from modelscope_beit.model_folder.timm_conversion import convert_timm, timm_source

    request = ConversionRequest(
        to=arguments.to,
        labels=arguments.labels,
        image_size=image_size,
        family=arguments.family,
        num_classes=arguments.num_classes,
        overwrite=arguments.overwrite,
        architecture=arguments.arch,
        trust_remote_code=arguments.trust_remote_code,
    )
    if segmentation_kind(source) is not None:
        segmentation = convert_segmentation(source, arguments.target, request)
        proof = segmentation.proof
        print_facts(str(segmentation.folder), segmentation.in_words() | {"logits": _comparison(proof)})
    elif (network := timm_source(source, arguments.arch)) is not None:
        by_timm = convert_timm(source, network, arguments.target, request)
        proof = by_timm.proof
        print_facts(str(by_timm.folder), by_timm.in_words() | {proof.compared: _comparison(proof)})
    else:
        done = convert(source, arguments.target, request)
        proof = done.proof
        print_facts(str(done.written.path), _facts(done))
    difference = proof.largest_difference
    return _DIFFERS if difference is not None and not difference <= _MOST_ROUNDING else 0


def _image_size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise SettingsError(f"--size is {text!r}, but a number of pixels such as 384, or 384x224 (HxW), is expected.")
    return int(sides[0]), int(sides[-1])


def _facts(done: "Converted") -> dict[str, str]:
    source, conversion = done.source, done.source.conversion
    height, width = source.file_image_size
    facts = {
        "source": source.description,
        "digest": source.digest,
        "keys": f"{len(conversion.mapped)} mapped, {len(conversion.dropped)} dropped, "
        f"{len(conversion.initialised)} fresh",
        "classes": f"{source.settings.num_classes:,}, names from {done.names_origin}",
    }
    if source.file_image_size != source.settings.backbone.image_size:
        facts["positions"] = f"interpolated from {height}x{width} pixels ({source.settings.backbone.table_resize})"
    if done.differences:
        facts["pixels"] = "\n".join(done.differences)
    return facts | {
        done.proof.compared: _comparison(done.proof),
        "read back": f"{len(done.written.tensors)} tensors, bit for bit what was to be written",
        "written": f"{done.written.weights.name}, {done.written.digest}",
    }


def _comparison(proof: "Proof") -> str:
    if proof.largest_difference is None:
        return f"not compared: {proof.reason}"
    how = f"those of {proof.library} ({proof.reason}), on a batch of fixed random pictures"
    if proof.largest_difference == 0:
        return f"equal {how}"
    verdict = "" if proof.largest_difference <= _MOST_ROUNDING else " MORE THAN ROUNDING: do not use it."
    return f"differ by at most {proof.largest_difference:.1e} from {how}.{verdict}"
