"""What follows from the size of a tokenizer's run where its recipe is silent. Standard library only.

Source: unilm/beit2 TOKENIZER.md and run_vqkd_training.py.
"""

from collections.abc import Mapping
from typing import Any

LR_OF_128_PICTURES = 5e-5
PUBLISHED_BATCH_SIZE, _PUBLISHED_MIN_LR = 64, 1e-5
_WARM_UP_SHARE = 0.1


def with_tokenizer_rules(run: Mapping[str, object], num_processes: int) -> dict[str, object]:
    """Returns the section `run` with a learning rate and a warm-up, where it has none of its own.

    The rate is 5e-5 for every 128 pictures of a step, in all processes together: 2e-4 for the published 512. No other
    stage of BEiT v2 scales it. The warm-up takes a tenth of the run, as of the published 100 epochs.
    Values of a wrong kind are left to whoever reads the section.
    """
    found: dict[str, Any] = dict(run)
    counts = [found.get("batch_size", PUBLISHED_BATCH_SIZE), found.get("accumulation", 1)]
    if all(type(count) is int for count in counts):
        found.setdefault("lr", scaled_rate(counts[0] * counts[1] * num_processes))
    if isinstance(found.get("lr"), int | float):
        found.setdefault("min_lr", min(_PUBLISHED_MIN_LR, found["lr"]))
    for length in ("epochs", "iterations"):
        if type(found.get(length)) is int:
            found.setdefault(f"warm_up_{length}", int(_WARM_UP_SHARE * found[length]))
    return found


def scaled_rate(pictures: int) -> float:
    """Returns the peak learning rate for so many pictures a step."""
    return LR_OF_128_PICTURES * pictures / 128
