"""A recipe as a person tells it: a line for each part, with what differs from the defaults."""

import dataclasses
from collections.abc import Mapping

from modelscope_beit.settings.foreign_steps import Augmentation, ForeignSteps
from modelscope_beit.settings.recipe import Recipe

# Of a longer list of settings, only the number is told.
_MOST_PARTS = 4


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
        "Schedule": in_words(recipe.schedule, "Schedule"),
        "Momentum": in_words(recipe.momentum, "Momentum"),
        "Gradient clipping": in_words(recipe.clip),
        "Early stopping": in_words(recipe.early_stopping, "Early stopping"),
        "Loss": in_words(recipe.loss),
        "Augmentation": _augmentation(recipe.training_steps),
        "Mixing": in_words(recipe.mixing, "Mixing"),
        "Averaged weights": in_words(recipe.ema, "EMA"),
        "Order": recipe.order.replace("_", " "),
        "Precision": precision,
        "Seed": f"{recipe.seed}{', deterministic' * recipe.deterministic}",
    }
    return {heading: text for heading, text in found.items() if text}


def _augmentation(steps: Augmentation) -> str:
    if isinstance(steps, ForeignSteps):
        return f"{', '.join(str(step['type']) for step in steps.steps)} of mmcls"
    return "; ".join(in_words(step) for step in steps if step.changes_pixels)


def in_words(value: object, heading: str = "") -> str:
    """Returns a settings object as "Name field value, field value", without what equals the default; None as "".

    heading: what stands before the text; a name that says the same is left out.
    """
    if value is None:
        return ""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__.removesuffix("Settings")
        told = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if _differs(value, field)}
        return f"{'' if _letters(name) == _letters(heading) else name} {_pairs(told)}".strip()
    if isinstance(value, Mapping):
        return _pairs(value)
    if isinstance(value, list | tuple):
        if not any(map(_has_parts, value)):
            return f"({', '.join(map(in_words, value))})"
        # RandAugment alone has fifteen policies; the configuration tells them.
        return str(len(value)) if len(value) > _MOST_PARTS else f"({'; '.join(map(in_words, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _optimizer(recipe: Recipe) -> str:
    settings = recipe.optimizer
    options = {"lr": settings.lr, "weight_decay": settings.weight_decay, **settings.options}
    parts = [f"{settings.kind} {_pairs(options)}"]
    parts += [in_words(rules) for rules in (settings.parameter_rules, settings.layer_decay)]
    # Rules that are all at their defaults have nothing but a name.
    return "; ".join(part for part in parts if " " in part)


def _pairs(values: Mapping[str, object]) -> str:
    told = ((name, in_words(value, name), value) for name, value in values.items() if value is not None)
    return ", ".join(f"{name} ({text})" if _has_parts(value) else f"{name} {text}" for name, text, value in told)


def _has_parts(value: object) -> bool:
    return dataclasses.is_dataclass(value) or isinstance(value, Mapping)


def _letters(name: str) -> str:
    return name.replace("_", "").replace(" ", "").lower()


def _differs(settings: object, field: "dataclasses.Field[object]") -> bool:
    value = getattr(settings, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value != field.default_factory())
    return field.default is dataclasses.MISSING or bool(value != field.default)
