"""BEiT v2's published fine-tuning on ImageNet-1k, which the rule "auto" starts from. Numbers only.

Source: unilm/beit2, get_started_for_image_classification.md; whole recipes are in configs/.
"""

from dataclasses import dataclass

from modelscope_beit.recipe_rules.facts import StartFacts

# Pictures a step and in the data of all of them.
BATCH = 1024
NUM_TRAIN = 1_281_167
WIDTH_OF_BASE = 768
_DEPTH_OF_BASE = 12


@dataclass(frozen=True)
class Published:
    """One column of the table. name: how to call it; mixes: mixup 0.8 and cutmix 1.0."""

    name: str
    epochs: int
    warm_up_epochs: int
    lr: float
    layer_decay: float
    drop_path: float
    mixes: bool


BASE = Published("base from labels of ImageNet-21k", 30, 20, 5e-5, 0.75, 0.1, False)
BASE_UNLABELLED = Published("base from pre-training without labels", 100, 20, 5e-4, 0.6, 0.2, True)
LARGE = Published("large from labels of ImageNet-21k", 20, 5, 7e-5, 0.8, 0.25, False)
LARGE_UNLABELLED = Published("large from pre-training without labels", 50, 5, 2e-4, 0.8, 0.2, True)


def nearest_published(start: StartFacts) -> Published:
    """Returns the recipe of the size that is nearest, and of weights that have, or have not, seen labels."""
    is_large = (start.depth or 0) > _DEPTH_OF_BASE
    if start.lineage == "self-supervised":
        return LARGE_UNLABELLED if is_large else BASE_UNLABELLED
    return LARGE if is_large else BASE
