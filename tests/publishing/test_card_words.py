"""Both languages say the same things."""

import re

import training_jobs
from modelscope_beit.publishing.card_words import ROWS_ZH, WORDS
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.recipe_words import recipe_in_words


def braces(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


def test_words__have_the_same_names_and_braces_in_both_languages() -> None:
    english, chinese = WORDS["en"], WORDS["zh"]
    assert english.keys() == chinese.keys()
    assert {name for name in english if braces(english[name]) != braces(chinese[name])} == set()


def test_words__are_in_their_language() -> None:
    assert not any(re.search(r"[一-鿿]", text) for text in WORDS["en"].values())
    without = {name for name, text in WORDS["zh"].items() if not re.search(r"[一-鿿]", text)}
    assert without == set()


def test_rows_zh__know_every_row_of_a_recipe() -> None:
    _, recipe = read_recipe(training_jobs.configuration(), where="the test")
    assert recipe_in_words(recipe, precision="fp32", num_processes=1).keys() <= ROWS_ZH.keys()
