"""What the commands on features share: their options, and opening the model that they name."""

import argparse
import os
from typing import TYPE_CHECKING

from modelscope_beit import names
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.commands.pretraining_run import is_pretraining_run

if TYPE_CHECKING:
    from modelscope_beit.model_folder.opening import OpenedModel


def add_feature_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which features, how to compute them, and the way of the answer."""
    add = parser.add_argument
    add("--feature", metavar="NAME",
        help="pooled: what the head gets (default); class_token; mean: of the patch tokens; or the number of a block, "
        "from 0: the mean of its patch tokens; probe takes both, too")  # fmt: skip
    add("--batch-size", type=int, default=32, help="pictures per pass through the network (default: 32)")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="threads that decode (default: one per processor, at most 8)")  # fmt: skip
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps ... (default: a GPU if there is one)")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    add("--trust-remote-code", action="store_true", help="allow a model folder to run code of its own")


def open_named_model(arguments: argparse.Namespace) -> "OpenedModel":
    """Returns the model; of the folder of a run, of pre-training too, the one that it has written.

    Raises as open_model and open_pretrained do.
    """
    folder = local_path(arguments.model)

    # Deferred, so that help and wrong usage are told at once: these bring torch.
    from modelscope_beit.model_folder.opening import open_model
    from modelscope_beit.network.device import find_device
    from modelscope_beit.pretraining.probing import open_pretrained

    if is_pretraining_run(folder):
        return open_pretrained(folder, device=str(find_device(arguments.device)))
    is_run = (folder / names.RUN_OUTPUT / names.CONFIGURATION_FILE).is_file()
    return open_model(
        folder / names.RUN_OUTPUT if is_run else folder,
        device=str(find_device(arguments.device)),
        trust_remote_code=arguments.trust_remote_code,
    )
