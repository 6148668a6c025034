"""The script of the page, run by Node on a table of made-up elements; the style sheet's braces and colours."""

import json
import re
import shutil
import subprocess

import pytest

from modelscope_beit.evaluation.report_style import SCRIPT, STYLE

# As much of a browser's document as the script touches.
DOCUMENT = """
const cell = words => ({
  textContent: words, attributes: {}, classList: {contains: () => false},
  getAttribute(key) { return this.attributes[key] ?? null; },
  setAttribute(key, value) { this.attributes[key] = value; },
  removeAttribute(key) { delete this.attributes[key]; },
  replaceChildren(button) { this.button = button; },
});
const heads = [cell("class"), cell("pictures")];
heads[1].classList.contains = kind => kind === "number";
const rows = [["pear", "1,200"], ["apple", "30"], ["fig", "7"]].map(words => ({cells: words.map(cell)}));
const body = {rows, append(...sorted) { this.rows = sorted; }};
const table = {tHead: {rows: [{cells: heads}]}, tBodies: [body]};
globalThis.document = {
  querySelectorAll: selector => selector === "table.sortable" ? [table] : [],
  createElement: () => ({addEventListener(event, handler) { this[event] = handler; }}),
};
"""
CLICKS = """
const seen = [];
for (const column of [1, 1, 0, 0, 1]) {
  heads[column].button.click();
  seen.push([body.rows.map(row => row.cells[0].textContent), heads.map(head => head.getAttribute("aria-sort"))]);
}
console.log(JSON.stringify(seen));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js, which runs the page's script here, is not installed")
def test_script__sorts_numbers_from_the_largest_and_names_from_a() -> None:
    done = subprocess.run(
        ["node", "-e", DOCUMENT + SCRIPT + CLICKS], capture_output=True, text=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0, done.stderr
    by_number, by_name = ["pear", "apple", "fig"], ["apple", "fig", "pear"]
    assert json.loads(done.stdout) == [
        [by_number, [None, "descending"]],
        [by_number[::-1], [None, "ascending"]],
        [by_name, ["ascending", None]],
        [by_name[::-1], ["descending", None]],
        [by_number, [None, "descending"]],
    ]


def test_style__is_whole_and_loads_nothing() -> None:
    assert STYLE.count("{") == STYLE.count("}")
    assert not re.search(r"@import|url\(|expression|</", STYLE)
    assert "prefers-color-scheme: dark" in STYLE and "@media print" in STYLE


def test_style__defines_every_colour_in_light_and_dark() -> None:
    light, dark = re.findall(r":root \{([^}]*)\}", STYLE)
    used = set(re.findall(r"var\((--[a-z]+)\)", STYLE))
    assert used <= set(re.findall(r"(--[a-z]+):", light))
    assert used <= set(re.findall(r"(--[a-z]+):", dark))


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(("ink", "paper"), [("ink", "paper"), ("ink", "card"), ("faded", "paper"), ("faded", "card")])
def test_style__can_be_read(scheme: int, ink: str, paper: str) -> None:
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]+)", re.findall(r":root \{([^}]*)\}", STYLE)[scheme]))
    assert contrast(colours[ink], colours[paper]) >= 4.5
