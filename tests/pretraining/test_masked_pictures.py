"""What is drawn: a size, and the colours where they belong."""

import numpy as np
import torch
from PIL import Image

from modelscope_beit.pretraining.masked_gauges import GuessCounts
from modelscope_beit.pretraining.masked_pictures import draw_codes, draw_guesses
from modelscope_beit.settings.masked_pretraining import ViewSettings


def batch(count: int) -> dict[str, torch.Tensor]:
    """White pictures of 2 x 3 patches; patches 1 and 5 are hidden; codes 0 to 5."""
    views = ViewSettings()
    white = (1 - torch.tensor(views.mean)) / torch.tensor(views.std)
    hidden = torch.tensor([[1, 5]]).expand(count, -1)
    code_map = torch.arange(6).expand(count, -1)
    return {
        "images": white[None, :, None, None].expand(count, 3, 16, 24),
        "mask": torch.zeros(count, 6, dtype=torch.bool).scatter_(1, hidden, True),
        "hidden": hidden,
        "code_map": code_map,
        "codes": code_map.gather(1, hidden),
    }


def logits(guesses: list[list[int]], count: int) -> torch.Tensor:
    return torch.eye(8)[torch.tensor(guesses)][:, None].expand(-1, count, -1, -1)


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_draw_guesses__crosses_mark_what_is_wrong(tmp_path):
    right = draw_guesses(tmp_path / "right.png", batch(2), logits([[1, 5], [1, 5]], 2), (2, 3), ViewSettings())
    wrong = draw_guesses(tmp_path / "wrong.png", batch(2), logits([[1, 5], [2, 5]], 2), (2, 3), ViewSettings())
    one, other = pixels(right), pixels(wrong)
    assert one.shape == other.shape == (410, 950, 3)
    changed = np.flatnonzero((one != other).any(axis=(0, 2)))
    assert changed.min() > 4 / 5 * 950 - 10, "only the last column differs: the second guess"
    assert (one == other)[:, : 3 * 950 // 5].all()
    # A third of the patches is grey in the second column, none in the first.
    grey = [(np.abs(one[:, place : place + 190] - 127).max(axis=2) <= 1).sum() for place in (0, 190)]
    assert grey[0] < 50 < 5000 < grey[1]


def test_draw_guesses__at_most_six_pictures_and_one_guess(tmp_path):
    path = draw_guesses(tmp_path / "many.png", batch(9), logits([[1, 5]], 9), (2, 3), ViewSettings())
    assert pixels(path).shape == (1170, 760, 3)


def test_draw_codes__a_point_for_each_code(tmp_path):
    counts = GuessCounts.empty(8)
    counts.add(logits([[1, 5]], 4), batch(4)["codes"])
    found = pixels(draw_codes(tmp_path / "codes.png", counts))
    blue = (found[:, :, 2] > found[:, :, 0] + 60).sum()
    assert found.shape == (400, 700, 3) and blue > 3
