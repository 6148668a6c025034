"""Settings from the command line, KEY=VALUE, written into a configuration.

KEY is a path of keys joined with dots, list places included (`model.mm_model.train_cfg.augments.0.alpha`, or
`augments[0].alpha` as messages write it); a key that has dots itself is quoted (`custom_keys.".cls_token".decay_mult`).
VALUE is read as JSON, else as a Python literal, else it is a string. SHORT_KEYS are spellings of what is set most.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import plain, shown

_PART = re.compile(r'"([^"]+)"|([^.\[\]"]+)|\[(\d+)\]')


@dataclass(frozen=True)
class ShortKey:
    """What a short key stands for.

    paths: where the value goes. fixed: paths and values that have to go with it.
    of_type: the value belongs to the element of this type in the list at paths[0], under `element_key`; the element is
        added where there is none.
    """

    help: str
    paths: tuple[str, ...]
    fixed: tuple[tuple[str, object], ...] = ()
    of_type: str = ""
    element_key: str = ""


_AUGMENTS = ("model.mm_model.train_cfg.augments",)
_BACKBONE = "model.mm_model.backbone"

SHORT_KEYS: dict[str, ShortKey] = {
    "lr": ShortKey("peak learning rate", ("train.optimizer.lr",)),
    "weight_decay": ShortKey("weight decay", ("train.optimizer.weight_decay",)),
    "epochs": ShortKey("passes over the training pictures", ("train.max_epochs",)),
    "iterations": ShortKey(
        "batches of the run, in place of epochs",
        ("train.runner.max_iters",),
        fixed=(("train.runner.type", "IterBasedRunner"),),
    ),
    "batch_size": ShortKey("pictures a batch and process", ("train.dataloader.batch_size_per_gpu",)),
    "eval_batch_size": ShortKey("the same in evaluation", ("evaluation.dataloader.batch_size_per_gpu",)),
    "workers": ShortKey(
        "threads that prepare pictures; 0: none beside the step",
        ("train.dataloader.workers_per_gpu", "evaluation.dataloader.workers_per_gpu"),
    ),
    "accumulation": ShortKey("batches an optimizer step", ("train.optimizer_config.cumulative_iters",)),
    "warmup_epochs": ShortKey(
        "epochs of rising learning rate",
        ("train.lr_config.warmup_iters",),
        fixed=(("train.lr_config.warmup", "linear"), ("train.lr_config.warmup_by_epoch", True)),
    ),
    "min_lr": ShortKey(
        "learning rate at the end", ("train.lr_config.min_lr",), fixed=(("train.lr_config.min_lr_ratio", None),)
    ),
    "layer_decay": ShortKey(
        "factor on the learning rate from each block to the one below",
        ("train.optimizer.paramwise_cfg.layer_decay_rate",),
        fixed=(("train.optimizer.constructor", "LearningRateDecayOptimizerConstructor"),),
    ),
    "clip": ShortKey("largest gradient norm", ("train.optimizer_config.grad_clip.max_norm",)),
    "drop_path": ShortKey("stochastic-depth rate of the last block", (f"{_BACKBONE}.drop_path_rate",)),
    "frozen_stages": ShortKey("blocks that are not trained", (f"{_BACKBONE}.frozen_stages",)),
    "gradient_checkpointing": ShortKey("less memory, more time", (f"{_BACKBONE}.with_cp",)),
    "label_smoothing": ShortKey(
        "share of the other classes",
        ("model.mm_model.head.loss.label_smooth_val",),
        fixed=(("model.mm_model.head.loss.type", "LabelSmoothLoss"),),
    ),
    "mixup": ShortKey("alpha of mixup", _AUGMENTS, of_type="BatchMixup", element_key="alpha"),
    "cutmix": ShortKey("alpha of cutmix", _AUGMENTS, of_type="BatchCutMix", element_key="alpha"),
    "patience": ShortKey(
        "evaluations without a better result, after which training stops", ("train.early_stopping.patience",)
    ),
    "ema": ShortKey("momentum of averaged weights", ("train.custom_hooks",), of_type="EMAHook", element_key="momentum"),
    "precision": ShortKey("auto, fp32, bf16 or fp16", ("train.precision",)),
    "compile": ShortKey("true: torch.compile", ("train.compile",)),
    "seed": ShortKey("random seed", ("seed",)),
    "device": ShortKey("auto, cpu, cuda, cuda:1 ...", ("device",)),
}


def apply_overrides(configuration: Mapping[str, object], overrides: Iterable[str]) -> dict[str, object]:
    """Returns a copy of a configuration with the overrides, in their order.

    overrides: "KEY=VALUE" each. A key that nobody knows is written too; read_recipe is its judge.
    Raises SettingsError that lists every override that has no "=", no key, a value that begins as JSON and is none,
    or a path through something that holds no keys.
    """
    changed = plain(configuration)
    assert isinstance(changed, dict), "a configuration is a mapping"
    problems = []
    for override in overrides:
        try:
            _apply(changed, override)
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n- ".join(["These settings cannot be used:", *problems]))
    return changed


def read_value(text: str) -> object:
    """Returns the value that a text stands for: JSON, else a Python literal, else the text itself.

    Raises SettingsError if it begins as a list, a mapping or a quoted string but is none.
    """
    text = text.strip()
    for read in (_read_json, ast.literal_eval):
        try:
            return plain(read(text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    if text[:1] in ("[", "{", "(", '"', "'"):
        raise SettingsError(f"the value {shown(text)} is neither JSON nor a Python literal")
    return text


def split_path(path: str) -> list[str]:
    """Returns the keys of a path; a place in a list is a key of digits. Raises SettingsError for a malformed path."""
    keys, position = [], 0
    while position < len(path):
        found = _PART.match(path, position)
        if found is None:
            raise SettingsError(f"{shown(path)} is no path of keys joined with dots")
        keys.append(next(group for group in found.groups() if group is not None))
        position = found.end()
        if path[position : position + 1] == ".":
            position += 1
            if position == len(path):
                raise SettingsError(f"{shown(path)} ends in a dot")
    if not keys:
        raise SettingsError("the key is empty")
    return keys


def short_keys_help() -> str:
    """Returns one line for each short key: its spelling, what it means, what it stands for."""
    width = max(map(len, SHORT_KEYS)) + 1
    return "\n".join(
        f"{name + '=':<{width}} {short.help} ({', '.join(short.paths)})" for name, short in SHORT_KEYS.items()
    )


def _apply(configuration: dict[str, object], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SettingsError(f"{shown(override)}: KEY=VALUE is expected, e.g. train.optimizer.lr=1e-4")
    try:
        value = read_value(text)
        short = SHORT_KEYS.get(key)
        if short is None:
            _set(configuration, split_path(key), value)
        elif short.of_type:
            _set_element(configuration, short, value)
        else:
            for path, constant in short.fixed:
                _set(configuration, split_path(path), constant)
            for path in short.paths:
                _set(configuration, split_path(path), value)
    except SettingsError as error:
        raise SettingsError(f"{override}: {error}") from error


def _set(configuration: dict[str, object], keys: list[str], value: object) -> None:
    """Sets a value; a missing or null mapping on the way is made, a list grows by one at most."""
    place: object = configuration
    for depth, key in enumerate(keys):
        is_last = depth == len(keys) - 1
        above = ".".join(keys[:depth]) or "the configuration"
        if isinstance(place, list):
            index = _index(place, key, above)
            if index == len(place):
                place.append(None)
            place[index] = value if is_last else _container(place[index])
            place = place[index]
        elif isinstance(place, dict):
            place[key] = value if is_last else _container(place.get(key))
            place = place[key]
        else:
            raise SettingsError(f"{above} is {shown(place)}, which holds no key {key!r}")


def _container(value: object) -> object:
    return {} if value is None else value


def _index(place: list[object], key: str, above: str) -> int:
    if not key.isdecimal() or int(key) > len(place):
        raise SettingsError(
            f"{above} is a list of {len(place)}; a place from 0 to {len(place)} is expected, not {key!r}"
        )
    return int(key)


def _set_element(configuration: dict[str, object], short: ShortKey, value: object) -> None:
    """Sets a value of the element of one type in a list; null or 0 takes the element out.

    Mixing that is added or taken out leaves each of the rest the same probability, 1 together.
    """
    keys = split_path(short.paths[0])
    holder: object = configuration
    for key in keys:
        holder = holder.get(key) if isinstance(holder, dict) else None
    # mmcls and mmcv take one mapping for a list of one.
    elements = [holder] if isinstance(holder, dict) else holder
    elements = list(elements) if isinstance(elements, list) else []
    others = [element for element in elements if not _is_of_type(element, short.of_type)]
    own = next((element for element in elements if _is_of_type(element, short.of_type)), {"type": short.of_type})
    assert isinstance(own, dict)
    chosen = others if value is None or value == 0 else [*others, own | {short.element_key: value}]
    if short.paths == _AUGMENTS and len(chosen) != len(elements):
        # For each batch mmcls takes one of them; it refuses probabilities whose sum exceeds 1.
        chosen = [element | {"prob": 1 / len(chosen)} if isinstance(element, dict) else element for element in chosen]
    _set(configuration, keys, chosen or None)


def _is_of_type(element: object, name: str) -> bool:
    return isinstance(element, dict) and element.get("type") == name


def _read_json(text: str) -> object:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> object:
    # NaN and Infinity are no JSON, though Python's reader takes them.
    raise ValueError(name)
