"""Data whose classes are not those of the network one to one: ImageNet folders, ImageNet-V2, -A and -R, ReaL labels."""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.model_folder.label_files import imagenet_1k_wordnet_ids

_IMAGENET_CLASSES = 1000
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(?!\d)")


def class_columns(data_names: Sequence[str], model_names: Sequence[str]) -> tuple[int, ...]:
    """Returns for each class of the data the column of the network's logits that stands for it.

    data_names: class names of the data, e.g. folder names, in the order of its labels. model_names: those of the
    network's K classes. Classes are matched by name; with 1,000 classes, which are taken for ImageNet-1k's, also by
    WordNet id (ImageNet, -A and -R) or by number "0" to "999" (ImageNet-V2, whose folders are not sorted by number).
    Raises SettingsError naming data classes that match none, or several that match the same one.
    """
    if tuple(data_names) == tuple(model_names):
        return tuple(range(len(model_names)))
    ways = [_places(model_names)]
    if len(model_names) == _IMAGENET_CLASSES:
        ways.append(_places(imagenet_1k_wordnet_ids()))
        ways.append({str(number): number for number in range(_IMAGENET_CLASSES)})
    # One way for all classes: what some names mean by chance must not decide.
    best = max(ways, key=lambda way: sum(name in way for name in data_names))
    if unknown := [name for name in data_names if name not in best]:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        kinds = "class name, WordNet id or number of an ImageNet class" if len(ways) > 1 else "class name"
        raise SettingsError(
            f"{len(unknown)} of the {len(data_names)} classes of the data are no {kinds} of the network: {shown}. "
            f"Its {len(model_names)} classes are {', '.join(model_names[:3])}, ..."
        )
    columns = tuple(best[name] for name in data_names)
    if len(set(columns)) < len(columns):
        twice = sorted({name for name, column in zip(data_names, columns, strict=True) if columns.count(column) > 1})
        raise SettingsError(f"The data have classes of the same name: {', '.join(twice)}.")
    return columns


def select_classes(network: nn.Module, columns: Sequence[int]) -> nn.Module:
    """Returns a module that gives the network's logits of some classes only, (N, len(columns)), in that order.

    So a softmax over them is one over these classes alone, which is how ImageNet-A and ImageNet-R are scored: by
    their 200 classes of the 1,000. For data with classes that a network could well confuse with absent ones, give all
    columns instead, those of the data first.
    """
    return nn.Sequential(network, _Columns(columns))


class _Columns(nn.Module):
    columns: Tensor

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        return logits.index_select(1, self.columns.to(logits.device))


def read_real_labels(file: str | Path) -> tuple[frozenset[int], ...]:
    """Returns the ReaL answers: for each picture of ImageNet's validation data, in its order, the right classes.

    file: real.json of google-research/reassessed-imagenet (arXiv 2006.07159), a list of lists of class numbers.
    Raises SettingsError if it is none.
    """
    path = Path(file)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"Expected ReaL labels, a JSON list of lists, in {path}, but: {error}.") from error
    if not isinstance(content, list):
        raise SettingsError(f"{path} must hold a list with the classes of every picture, not {type(content).__name__}.")
    for place, classes in enumerate(content):
        if not (isinstance(classes, list) and all(_is_class(number) for number in classes)):
            raise SettingsError(
                f"{path} must have a list of class numbers from 0 to {_IMAGENET_CLASSES - 1} for every picture, but "
                f"number {place + 1} is {json.dumps(classes)[:60]}."
            )
    return tuple(frozenset(classes) for classes in content)


def real_accuracy(
    outcomes: Outcomes,
    file_names: Sequence[str],
    answers: Sequence[Collection[int]],
    *,
    columns: Sequence[int] | None = None,
) -> dict[str, float]:
    """Returns `accuracy_real_top-1` in percent, and `real_support`, the number of pictures it is about.

    file_names: name or path of the file of each picture of the data, in their order; ImageNet's own names,
        ILSVRC2012_val_00000001.JPEG and so on, tell which answer belongs to a picture.
    answers: as read_real_labels gives them. A prediction is right if it is among them; pictures without any are left
        out. columns: ImageNet's numbers of the classes of the outcomes, if those have another order (class_columns).
    Raises SettingsError if a file name tells no number, or one without an answer.
    """
    predictions = outcomes.top_classes[:, 0]
    if columns is not None:
        predictions = np.asarray(columns)[predictions]
    hits = []
    for index, prediction in zip(outcomes.indices, predictions, strict=True):
        right = answers[_validation_number(file_names[int(index)], len(answers)) - 1]
        if right:
            hits.append(int(prediction) in right)
    if not hits:
        raise SettingsError("None of the pictures has a ReaL label.")
    return {"accuracy_real_top-1": 100.0 * float(np.mean(hits)), "real_support": float(len(hits))}


def _validation_number(file_name: str, count: int) -> int:
    found = _VALIDATION_NAME.search(file_name)
    number = int(found.group(1)) if found else 0
    if not 1 <= number <= count:
        raise SettingsError(
            f"ReaL labels belong to files named ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_{count:08d}.JPEG, "
            f"but a picture of the data is {file_name}."
        )
    return number


def _places(class_names: Sequence[str]) -> dict[str, int]:
    """Returns name -> class number, without names that several classes have (ImageNet has two cranes)."""
    places: dict[str, int] = {}
    for number, name in enumerate(class_names):
        places[name] = -1 if name in places else number
    return {name: number for name, number in places.items() if number >= 0}


def _is_class(number: object) -> bool:
    return type(number) is int and 0 <= number < _IMAGENET_CLASSES
