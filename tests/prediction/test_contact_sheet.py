"""The sheet's size, the colours of frames and bars, and pictures that keep their pixels."""

import numpy as np
import pytest
from PIL import Image

from modelscope_beit.prediction.contact_sheet import RIGHT, WRONG, Answer, contact_sheet


def answer(*, score: float = 0.5, label: str = "cat", truth: str = "cat", picture: Image.Image | None = None) -> Answer:
    return Answer(picture or Image.new("L", (28, 28), 77), label, score, truth)


def sheet_of(*answers: Answer) -> np.ndarray:
    return np.asarray(contact_sheet(answers, title="A title", subtitle="and more", footer="the end"))


def count(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Returns how many pixels have exactly this colour."""
    return int((sheet == colour).all(axis=2).sum())


def test_contact_sheet__grows_by_rows_of_five() -> None:
    one, five, six = (sheet_of(*[answer()] * number).shape for number in (1, 5, 6))
    assert one == five
    assert six[1:] == five[1:]
    assert six[0] > five[0] + 200


def test_contact_sheet__frames_right_green_and_wrong_red() -> None:
    right, wrong = sheet_of(answer()), sheet_of(answer(label="dog"))
    assert count(right, RIGHT) > 1500 and count(right, WRONG) == 0
    assert count(wrong, WRONG) > 1500 and count(wrong, RIGHT) == 0


def test_contact_sheet__draws_each_card_in_its_place() -> None:
    """Second of three is wrong: red in the middle of the columns that three cards take, green around it."""
    sheet = sheet_of(answer(), answer(label="dog"), answer())
    red, green = (np.flatnonzero((sheet == colour).all(axis=2).any(axis=0)) for colour in (WRONG, RIGHT))
    assert green.min() < red.min() < red.max() < green.max()


def test_contact_sheet__bar_grows_with_the_score() -> None:
    low, middle, high = (count(sheet_of(answer(score=score)), RIGHT) for score in (0.11, 0.51, 0.91))
    assert middle - low == pytest.approx(0.4 * 196 * 7, rel=0.15)
    assert high - middle == pytest.approx(0.4 * 196 * 7, rel=0.15)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_contact_sheet__takes_scores_at_the_ends(score: float) -> None:
    assert sheet_of(answer(score=score)).any()


def test_contact_sheet__enlarges_small_pictures_by_whole_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    sheet = sheet_of(answer(picture=Image.fromarray(pixels)))
    enlarged = pixels.repeat(7, axis=0).repeat(7, axis=1)
    # The mark lies over the upper right corner, so the lower half is looked for.
    lower = enlarged[98:]
    windows = np.lib.stride_tricks.sliding_window_view(sheet[:, :, 0], lower.shape[:2])
    places = np.argwhere((windows[:, :, 0, :9] == lower[0, :9, 0]).all(axis=2))
    assert any((sheet[y : y + 98, x : x + 196] == lower).all() for y, x in places)


@pytest.mark.parametrize("size", [(640, 427), (60, 400), (197, 3)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_contact_sheet__fits_pictures_of_any_size_and_mode(size: tuple[int, int], mode: str) -> None:
    expected = sheet_of(answer()).shape
    assert sheet_of(answer(picture=Image.new(mode, size))).shape == expected


def test_contact_sheet__shortens_long_names() -> None:
    """Nothing is written outside the card: the paper at its right is as clean as beside a short name."""
    long = "a name that goes on and on, with every synonym that there is"
    sheet = sheet_of(answer(label=long, truth="cat"))
    plain = sheet_of(answer(label="x", truth="cat"))
    right_of_card = slice(36 + 224 + 1, None)
    assert (sheet[:, right_of_card] == plain[:, right_of_card]).all()


def test_answer__is_right() -> None:
    assert answer().is_right
    assert not answer(truth="dog").is_right
