"""What start weights have seen before, found out from their classes and from what they and their card are called."""

import re
from collections.abc import Iterable, Sequence

from modelscope_beit.recipe_rules.facts import Lineage

# ImageNet-21k as BEiT's authors cut it, and with one class more for what is none.
_CLASSES_OF_21K = (21841, 21842)
_CLASSES_OF_1K = 1000
# In this order: names tell one stage of training after the other, and the last one counts.
_IN_NAMES: tuple[tuple[str, Lineage], ...] = (
    (r"^\| Fine-tuned from", "fine-tuned"),
    (r"(?:ft|in)[-_]?2[12]k[-_]?(?:to[-_]?|ft[-_]?)?(?:in[-_]?)?1k", "fine-tuned"),
    (r"ft[-_]?(?:in[-_]?)?1k", "fine-tuned"),
    (r"ft[-_]?(?:in[-_]?)?2[12]k", "intermediate"),
    (r"pt[-_]?(?:1k|2[12]k)|masked[- ]image", "self-supervised"),
)


def find_lineage(num_classes: int, class_names: Sequence[str] | None, texts: Iterable[str]) -> tuple[Lineage, str]:
    """Returns what the weights have seen, and how that was found out, as a clause.

    num_classes, class_names: of the start weights. texts: names and descriptions of the weights, the surest first.
    """
    if num_classes in _CLASSES_OF_21K:
        return "intermediate", f"its head has {num_classes:,} classes, those of ImageNet-21k"
    for text in texts:
        for pattern, lineage in _IN_NAMES:
            if found := re.search(pattern, text, re.IGNORECASE):
                return lineage, f"{found.group()!r} in {_shortened(text)!r}"
    if class_names and all(re.fullmatch(r"class \d+", name) for name in class_names):
        # That is what convert calls the classes of weights that come without a head.
        return "self-supervised", "its head is fresh, and no name says that anything was trained with labels"
    if num_classes == _CLASSES_OF_1K:
        return "fine-tuned", "its head has 1,000 classes, as many as ImageNet-1k"
    return "fine-tuned", f"nothing names its lineage; a head of {num_classes:,} classes was trained with labels"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"...{line[-57:]}"
