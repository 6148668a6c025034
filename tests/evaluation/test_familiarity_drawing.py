"""The histograms as XML: bars stand for all pictures, and change their colour at the threshold only."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from modelscope_beit.evaluation.familiarity_drawing import familiarity_drawing

RNG = np.random.default_rng(0)


def bars(drawing: str) -> list[tuple[str, float, int, str]]:
    """(colour, left, pictures, known or unknown) of each bar."""
    found = []
    for bar in ElementTree.fromstring(drawing).iter("rect"):
        count, what = re.match(r"([\d,]+) (known|unknown) pictures", bar[0].text or "").groups()
        found.append((bar.get("class"), float(bar.get("x")), int(count.replace(",", "")), what))
    return found


def test_drawing__has_every_picture_on_its_side_of_the_threshold() -> None:
    known, unknown = RNG.normal(5, 1, 5000), RNG.normal(2, 1, 800)
    found = bars(familiarity_drawing(known, unknown, 3.2))
    for what, values in (("known", known), ("unknown", unknown)):
        below = sum(count for kind, _, count, whose in found if whose == what and kind == "wrong")
        above = sum(count for kind, _, count, whose in found if whose == what and kind == "right")
        assert (below, above) == ((values < 3.2).sum(), (values >= 3.2).sum())


def test_drawing__without_unknown_pictures_has_one_row() -> None:
    drawing = familiarity_drawing(RNG.normal(5, 1, 300), np.zeros(0), 3.0)
    assert {whose for *_, whose in bars(drawing)} == {"known"}
    assert "300 known pictures" in drawing


@pytest.mark.parametrize("threshold", [2.0, 1.0, 3.0])
def test_drawing__of_equal_values(threshold: float) -> None:
    found = bars(familiarity_drawing(np.full(100, 2.0), np.zeros(0), threshold))
    assert sum(count for _, _, count, _ in found) == 100
    assert all(kind == ("wrong" if threshold > 2 else "right") for kind, *_ in found)
