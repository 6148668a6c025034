"""Facts of made-up runs, and the recipes that rules make of them."""

import copy
from dataclasses import replace
from typing import Any

import helpers
from modelscope_beit.recipe_rules.applying import RuledRecipe, apply_rule
from modelscope_beit.recipe_rules.facts import DataFacts, DeviceFacts, Facts, StartFacts
from modelscope_beit.settings.recipe import Recipe, read_recipe

VAL = tuple(helpers.TINY_CONFIGURATION["preprocessor"]["val"])
BASE = StartFacts("fine-tuned", "somebody said so", 768, 12, (32, 32), VAL)
DATA = DataFacts(10_000, 90, 110, False, (300, 400), False)
# Room for 1,000 pictures at once.
DEVICE = DeviceFacts("a device", 1, "fp32", 1250, 0, 1, (32, 32))


def facts(**changes: Any) -> Facts:
    """Returns facts about a base network, 10,000 large pictures and much memory, unless changes say otherwise.

    changes: fields of the facts about start, data and device, or `given`.
    """
    parts: dict[str, Any] = {"start": BASE, "data": DATA, "device": DEVICE}
    for name, part in parts.items():
        own = {field: changes.pop(field) for field in list(changes) if hasattr(part, field)}
        parts[name] = replace(part, **own)
    return Facts(**parts, **changes)


def ruled(rule: str, **changes: Any) -> RuledRecipe:
    """Returns what a rule makes of the tiny configuration."""
    return apply_rule(rule, copy.deepcopy(helpers.TINY_CONFIGURATION), facts(**changes))


def recipe(rule: str, **changes: Any) -> Recipe:
    """Returns the recipe that is read from it; what nobody reads would be an error."""
    found = ruled(rule, **changes).configuration
    return read_recipe(found, where="the rule's", original=helpers.TINY_CONFIGURATION)[1]
