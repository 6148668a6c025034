"""Say what is in a model folder, an exported one or a weight file: network, classes, preprocessing, digest, sizes.

Nothing is executed, unless --trust-remote-code allows a config.py to run; the network is not run either. Weights of
unilm, timm, transformers, mmcls and mmpretrain are recognised by their key names.

Examples:
  beit describe embedded
  beit describe beitv2_base_patch16_224_pt1k_ft21kto1k.pth
  beit describe my_model --json
"""

import argparse
import json

from modelscope_beit.commands.model_argument import local_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL_OR_FILE and the format of the answer."""
    parser.add_argument(
        "model",
        metavar="MODEL_OR_FILE",
        help="a model folder, an exported one, a weight file, a hub id, or the word embedded",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, with all class names")
    parser.add_argument("--trust-remote-code", action="store_true", help="allow a model folder to run its config.py")


def run(arguments: argparse.Namespace) -> int:
    """Prints the description and returns 0. Raises BeitError for what cannot be read."""
    path = local_path(arguments.model)

    # Deferred, so that help and wrong usage are told at once: this brings torch.
    from modelscope_beit.export.certificate import Certificate, read_certificate
    from modelscope_beit.export.opening import exported_folder
    from modelscope_beit.model_folder.description import Description, describe
    from modelscope_beit.model_folder.segmentation import segmentation_kind
    from modelscope_beit.model_folder.segmentation_description import SegmentationDescription, describe_segmentation

    description: Description | Certificate | SegmentationDescription
    if (exported := exported_folder(path)) is not None:
        description = read_certificate(exported)
    elif segmentation_kind(path) is not None:
        description = describe_segmentation(path)
    else:
        description = describe(path, trust_remote_code=arguments.trust_remote_code)
    if arguments.json:
        print(json.dumps(description.as_json(), indent=2, ensure_ascii=False))
        return 0
    # Deferred for the same reason: rich is not small either.
    from modelscope_beit.commands.facts_view import print_facts

    print_facts(str(path), description.in_words())
    return 0
