"""Proves the conversion of a segmentation network: the same picture through transformers and through ours.

Asks for transformers inside a function only.
"""

import torch

from modelscope_beit.checkpoints.proof import Proof
from modelscope_beit.checkpoints.segmentation import ARCHITECTURE, SegmentationSource, segmentation_network_with
from modelscope_beit.errors import MissingPackageError, require

_SEED = 0


def prove_segmentation(source: SegmentationSource) -> Proof:
    """Returns the proof of an opened folder, at its own picture size; without transformers that is a reason in it."""
    library, difference, reason = "", None, ""
    try:
        transformers = require("transformers", extra="dev", purpose="to compare the logits with those of transformers")
        theirs = getattr(transformers, ARCHITECTURE).from_pretrained(str(source.path), local_files_only=True)
        difference = _largest_difference(theirs.float().eval(), source)
        library, reason = "transformers", "opened by transformers itself"
    except MissingPackageError as error:
        reason = str(error)
    return Proof(len(source.mapped), len(source.dropped), (), source.digest, library, difference, reason)


@torch.no_grad()
def _largest_difference(theirs: torch.nn.Module, source: SegmentationSource) -> float:
    ours = segmentation_network_with(source.settings, source.tensors, str(source.weights))
    backbone = source.settings.backbone
    shape = (1, backbone.in_channels, *backbone.image_size)
    picture = torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))
    return float((theirs(picture).logits - ours(picture)).abs().max())
