"""A recipe as a person tells it: a line for each part, with what differs from the defaults."""

import dataclasses
from collections.abc import Mapping

from modelscope_beit.settings.recipe import Recipe


def recipe_in_words(recipe: Recipe, *, precision: str, num_processes: int) -> dict[str, str]:
    """Returns heading -> text, in the order in which a person reads it; parts that the recipe lacks are left out.

    precision: "fp32", "bf16" or "fp16", what "auto" became. num_processes: batches an iteration takes.
    """
    together = recipe.batch_size * num_processes * recipe.accumulation
    factors = {"": recipe.batch_size, " processes": num_processes, " accumulated": recipe.accumulation}
    product = " x ".join(f"{number}{name}" for name, number in factors.items() if number != 1 or not name)
    found = {
        "Length": f"{recipe.epochs} epochs" if recipe.epochs is not None else f"{recipe.iterations} iterations",
        "Batch": f"{together}" if product == str(together) else f"{together} = {product}",
        "Optimizer": _optimizer(recipe),
        "Schedule": in_words(recipe.schedule),
        "Momentum": in_words(recipe.momentum),
        "Gradient clipping": in_words(recipe.clip),
        "Loss": in_words(recipe.loss),
        "Augmentation": "; ".join(map(in_words, recipe.training_steps)),
        "Mixing": in_words(recipe.mixing),
        "Averaged weights": in_words(recipe.ema),
        "Order": recipe.order.replace("_", " "),
        "Precision": precision,
        "Seed": f"{recipe.seed}{', deterministic' * recipe.deterministic}",
    }
    return {heading: text for heading, text in found.items() if text}


def in_words(value: object) -> str:
    """Returns a settings object as "Name field value, field value", without what equals the default; None as ""."""
    if value is None:
        return ""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__.removesuffix("Settings")
        told = [
            (field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if _differs(value, field)
        ]
        return f"{name} {_pairs(dict(told))}".strip()
    if isinstance(value, Mapping):
        return _pairs(value)
    if isinstance(value, list | tuple):
        return f"({', '.join(map(in_words, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _optimizer(recipe: Recipe) -> str:
    settings = recipe.optimizer
    options = {"lr": settings.lr, "weight_decay": settings.weight_decay, **settings.options}
    parts = [f"{settings.kind} {_pairs(options)}"]
    parts += [in_words(rules) for rules in (settings.parameter_rules, settings.layer_decay)]
    # Rules that are all at their defaults have nothing but a name.
    return "; ".join(part for part in parts if " " in part)


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {in_words(value)}" for name, value in values.items() if value is not None)


def _differs(settings: object, field: "dataclasses.Field[object]") -> bool:
    value = getattr(settings, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value != field.default_factory())
    return field.default is dataclasses.MISSING or bool(value != field.default)
