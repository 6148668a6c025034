"""Block-wise masks: which patches of a picture are hidden from the network. numpy only.

Source: BEiT (arXiv 2106.08254), algorithm 1; unilm/beit2 masking_generator.py, whose masks all hide equally many
patches. The distribution is that one's; mmpretrain's is another (no block at the last row or column, no top-up).
"""

import math

import numpy as np

from modelscope_beit.settings.masked_pretraining import MaskingSettings

_NUM_TRIES = 10


def block_mask(grid: tuple[int, int], settings: MaskingSettings, rng: np.random.Generator) -> np.ndarray:
    """Returns a mask (rows, columns), bool, True where a patch is hidden: `settings.count(grid)` of them.

    Rectangles of random area, proportions and place are hidden one after another, as long as the next one hides
    something and no more than is left; what is left when ten tries in a row fail is hidden patch by patch.
    rng: where every random number comes from.
    """
    count, smallest = settings.count(grid), settings.smallest_block(grid)
    steepest = -math.log(settings.min_aspect)
    largest = count if settings.max_block is None else settings.max_block
    mask = np.zeros(grid, dtype=bool)
    left = count
    while left > 0:
        hidden = _hide_block(mask, (smallest, min(left, largest)), steepest, rng)
        if hidden == 0:
            break
        left -= hidden
    # A block never hides more than is left, so there is nothing to uncover.
    if left > 0:
        visible = np.flatnonzero(~mask)
        mask.flat[rng.choice(visible, left, replace=False)] = True
    return mask


def _hide_block(mask: np.ndarray, areas: tuple[int, int], steepest: float, rng: np.random.Generator) -> int:
    """Hides one more rectangle, in place, and returns how many patches of it are new; 0 if none was found.

    areas: between which its area is drawn; the second is also the most that may be new.
    steepest: logarithm of the largest proportion of its sides.
    """
    rows, columns = mask.shape
    smallest, budget = areas
    # About twenty numbers are drawn for a mask, so each by itself costs more than all of them together.
    draws = rng.random((_NUM_TRIES, 4)).tolist()
    for of_area, of_aspect, of_top, of_left in draws:
        # With less left than a block has at least, this lies between the two all the same.
        area = smallest + (budget - smallest) * of_area
        aspect = math.exp(steepest * (2 * of_aspect - 1))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= rows or width >= columns:
            continue
        # The last row and column are places too.
        top, left = int(of_top * (rows - height + 1)), int(of_left * (columns - width + 1))
        block = mask[top : top + height, left : left + width]
        hidden = height * width - int(np.count_nonzero(block))
        if 0 < hidden <= budget:
            block[:] = True
            return hidden
    return 0
