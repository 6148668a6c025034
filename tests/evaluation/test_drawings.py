"""SVG, read back as XML: where shapes lie and what they say."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from modelscope_beit.evaluation.calibration import calibration, coverage_curve
from modelscope_beit.evaluation.drawings import (
    confusion_drawing,
    coverage_drawing,
    reliability_drawing,
    share_bar,
)

CELLS = np.array([[6, 2, 0], [0, 5, 5], [1, 0, 0]])
SUPPORT = np.array([10, 10, 4])
HOSTILE = ["<b>cat</b>", 'a "dog" & co', "]]><script>"]


def tips(drawing: ET.Element) -> list[str]:
    return [title.text or "" for group in drawing.iter("g") for title in group.iter("title")]


def test_confusion_drawing__says_what_every_cell_is() -> None:
    drawing = ET.fromstring(confusion_drawing(CELLS, SUPPORT, HOSTILE))
    assert tips(drawing) == [
        "<b>cat</b> → <b>cat</b>: 6 of 10 (60.0%)",
        '<b>cat</b> → a "dog" & co: 2 of 10 (20.0%)',
        'a "dog" & co → a "dog" & co: 5 of 10 (50.0%)',
        'a "dog" & co → ]]><script>: 5 of 10 (50.0%)',
        "]]><script> → <b>cat</b>: 1 of 4 (25.0%)",
    ]
    assert not list(drawing.iter("script")) and not list(drawing.iter("b"))


def test_confusion_drawing__has_truths_as_rows() -> None:
    drawing = ET.fromstring(confusion_drawing(CELLS, SUPPORT, HOSTILE))
    squares = [group.find("rect").attrib for group in drawing.iter("g")]  # type: ignore[union-attr]
    assert [square["class"] for square in squares] == ["right", "wrong", "right", "wrong", "wrong"]
    first, beside, _, _, below = squares
    assert first["y"] == beside["y"] and float(first["x"]) < float(beside["x"])
    assert first["x"] == below["x"] and float(first["y"]) < float(below["y"])
    assert float(first["opacity"]) > float(squares[2]["opacity"]) > float(beside["opacity"]) > 0.1
    counts = [element.text for element in drawing.iter("text") if "count" in element.attrib["class"]]
    assert counts == ["6", "2", "5", "5", "1"]


@pytest.mark.parametrize("k", [1, 2, 13, 40])
def test_confusion_drawing__stays_on_its_sheet(k: int) -> None:
    cells = np.eye(k, dtype=np.int64) * 3
    drawing = ET.fromstring(confusion_drawing(cells, np.full(k, 3), [f"class {n}" for n in range(k)]))
    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    for square in drawing.iter("rect"):
        assert float(square.attrib["x"]) + float(square.attrib["width"]) <= width
        assert float(square.attrib["y"]) + float(square.attrib["height"]) <= height


def test_reliability_drawing__has_bars_as_high_as_the_accuracy() -> None:
    scores, hits = np.array([0.95] * 4 + [0.5] * 2), np.array([True, True, True, False, False, True])
    drawing = ET.fromstring(reliability_drawing(calibration(scores, hits)))
    assert tips(drawing) == [
        "2 pictures scored 47% to 53%: mean 50.0%, right 50.0%",
        "4 pictures scored 93% to 100%: mean 95.0%, right 75.0%",
    ]
    heights = {kind: [] for kind in ("right", "wrong", "amount")}
    for bar in drawing.iter("rect"):
        heights[bar.attrib["class"]].append(float(bar.attrib["height"]))
    assert [group.attrib.get("class") for group in drawing.iter("g")] == ["few", "few"]
    assert heights["right"] == pytest.approx([150, 225])
    assert heights["wrong"] == pytest.approx([0, 60], abs=0.1)
    assert heights["amount"][0] == pytest.approx(heights["amount"][1] / 2)


@pytest.mark.parametrize(
    ("accuracy", "lowest_label"), [(0.31, "0%"), (0.62, "50%"), (0.88, "75%"), (0.96, "95%"), (1.0, "95%")]
)
def test_coverage_drawing__starts_its_axis_at_a_round_number(accuracy: float, lowest_label: str) -> None:
    hits = np.arange(100) < 100 * accuracy
    drawing = ET.fromstring(coverage_drawing(coverage_curve(np.linspace(1, 0.5, 100), hits)))
    labels = [element.text for element in drawing.iter("text")]
    assert labels[0] == lowest_label
    points = [tuple(map(float, point.split(","))) for point in drawing.find("polyline").attrib["points"].split()]  # type: ignore[union-attr]
    dot = drawing.find("circle")
    assert dot is not None
    assert points[-1] == (float(dot.attrib["cx"]), float(dot.attrib["cy"]))
    assert all(10 <= y <= 310.1 for _, y in points)
    assert points[-1][1] == pytest.approx(10 + 300 * (1 - accuracy) / (1 - float(lowest_label[:-1]) / 100), abs=0.1)


def test_share_bar__is_as_long_as_the_share() -> None:
    bar = ET.fromstring(share_bar(0.25)).find("rect")
    assert bar is not None and bar.attrib["width"] == "25"
