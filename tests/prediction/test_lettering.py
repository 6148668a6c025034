"""Which font writes a name: one with all its letters, or there is a number. The fonts are made here, of two letters."""

import logging
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from modelscope_beit.prediction.lettering import find_inscriptions


def write_font(path: Path, letters: str) -> Path:
    """Writes a font in which each letter is a black square; fontTools comes with matplotlib."""
    pen = TTGlyphPen(None)
    for number, corner in enumerate([(100, 0), (100, 800), (900, 800), (900, 0)]):
        (pen.lineTo if number else pen.moveTo)(corner)
    pen.closePath()
    names = [".notdef", *(f"uni{ord(letter):04X}" for letter in letters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    font.setupHorizontalHeader(ascent=880, descent=-120)
    font.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the fonts of a machine."""
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: sorted(map(str, tmp_path.glob("*.ttf"))))
    return tmp_path


def test_find_inscriptions__names_of_many_alphabets_need_no_font_of_the_machine(
    installed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["red fox, Vulpes vulpes", "café", "лиса", "αλεπού", "cafe\u0301", "two\n lines"]
    found = find_inscriptions(names)
    assert [found[name].text for name in names] == [*names[:4], "café", "two lines"]
    assert {Path(inscription.font_file).name for inscription in found.values()} == {"DejaVuSans.ttf"}
    assert not caplog.messages


def test_find_inscriptions__takes_a_font_of_the_machine_that_has_the_letters(
    installed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (installed / "broken.ttf").write_bytes(b"no font")
    write_font(installed / "a_half.ttf", "中0123456789.% ")
    write_font(installed / "b_without_digits.ttf", "中文")
    write_font(installed / "han-Bold.ttf", "中文0123456789.% ")
    write_font(installed / "lastresort.ttf", "中文0123456789.% ")
    plain = write_font(installed / "han-Regular.ttf", "中文0123456789.% ")
    found = find_inscriptions(["cat", "中文"])
    assert (found["中文"].text, found["中文"].font_file) == ("中文", str(plain))
    assert Path(found["cat"].font_file).name == "DejaVuSans.ttf"
    assert not caplog.messages


def test_find_inscriptions__without_a_font_there_is_the_number_and_one_warning(
    installed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    found = find_inscriptions(["cat", "中文", "苹果", "\x1b", "鸟", "中文", ""])
    assert [found[name].text for name in ("cat", "中文", "苹果", "鸟")] == ["cat", "class 1", "class 2", "class 4"]
    assert found[""].text == "class 6"
    (message,) = caplog.messages
    assert "4 of the 6 class names ('中文', '苹果', '\\x1b', ...)" in message and "'class 1'" in message
    assert "Noto Sans CJK" in message
