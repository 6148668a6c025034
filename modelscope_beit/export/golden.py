"""Golden inputs and outputs: real pictures, what the network gets of each, and what it answers in float32."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn

from modelscope_beit.data.batches import PictureTransform
from modelscope_beit.errors import ExportError, SettingsError
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.finding import EMBEDDED, find_model_folder
from modelscope_beit.names import PICTURE_SUFFIXES
from modelscope_beit.network.scores import class_scores, familiarity
from modelscope_beit.settings.confidence import Confidence

# Sides of another size, of any network that takes one, are multiples of the steps that usual networks halve it by.
_STEP_PIXELS = 32
_PICTURES_OF_ANOTHER_SIZE = 4
_OF_CALIBRATED = ("scores", "are_unknown")


@dataclass(frozen=True)
class Golden:
    """What an exported network must answer.

    pictures: file names, one for each of N. images: (N, 3, H, W), float32, normalised. logits: (N, K), float32.
    other_images, other_logits: of another size, for a network that takes any; else empty.
    scores, are_unknown: (N, K), float32, and (N,), bool: what the logits of a calibrated network mean; else empty.
    """

    pictures: tuple[str, ...]
    images: np.ndarray
    logits: np.ndarray
    other_images: np.ndarray
    other_logits: np.ndarray
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    are_unknown: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def spread(self) -> float:
        """Returns the standard deviation of all logits, which says what a difference of logits means."""
        return float(self.logits.std())


def packaged_pictures() -> list[Path]:
    """Returns the small real pictures that come with the package, sorted by name."""
    folder = find_model_folder(EMBEDDED) / "pictures"
    return sorted(path for path in folder.iterdir() if path.suffix in PICTURE_SUFFIXES)


def make_golden(network: nn.Module, transform: PictureTransform, *, dynamic_size: bool) -> Golden:
    """Returns the golden set of a network in float32, in eval mode, on the processor.

    Raises SettingsError if the transform makes pictures of different sizes.
    """
    paths = packaged_pictures()
    images = transformed(transform, paths)
    others = _of_another_size(images) if dynamic_size else images[:0]
    run = _run_torch(network)
    return Golden(tuple(path.name for path in paths), images, run(images), others, run(others))


def with_scores(golden: Golden, confidence: Confidence, *, is_multi_label: bool) -> Golden:
    """Returns the golden set with what its logits mean."""
    logits = torch.from_numpy(golden.logits).double()
    scores = class_scores(logits, is_multi_label=is_multi_label, temperature=confidence.temperature)
    are_unknown = familiarity(logits, is_multi_label=is_multi_label) < confidence.unknown_below
    return replace(golden, scores=scores.float().numpy(), are_unknown=are_unknown.numpy())


def transformed(transform: PictureTransform, pictures: Iterable[object]) -> np.ndarray:
    """Returns the network's input (N, 3, H, W) of pictures; raises SettingsError unless all have one size."""
    images = [transform(read_image(picture)).numpy() for picture in pictures]
    if len({image.shape for image in images}) > 1:
        raise SettingsError(
            "The preprocessing makes pictures of different sizes, but a graph takes batches of one size; add a "
            "CenterCrop, or resize to [height, width], in preprocessor.val."
        )
    return np.stack(images)


def write_golden(golden: Golden, file: Path, pictures: Path) -> None:
    """Writes the arrays, and the pictures with their licence to a new folder."""
    np.savez_compressed(
        file,
        pictures=np.array(golden.pictures),
        images=golden.images,
        logits=golden.logits,
        other_images=golden.other_images,
        other_logits=golden.other_logits,
        **{name: getattr(golden, name) for name in _OF_CALIBRATED if len(golden.scores)},
    )
    shutil.copytree(packaged_pictures()[0].parent, pictures)


def read_golden(file: Path) -> Golden:
    """Returns what write_golden has written; raises ExportError if it cannot be read."""
    try:
        with np.load(file) as arrays:
            return Golden(
                tuple(arrays["pictures"].tolist()),
                *(arrays[name] for name in ("images", "logits", "other_images", "other_logits")),
                **{name: arrays[name] for name in _OF_CALIBRATED if name in arrays},
            )
    # ValueError: no archive, or one that holds code.
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ExportError(f"{file} must hold golden inputs and outputs, but cannot be read: {error}") from error


def _of_another_size(images: np.ndarray) -> np.ndarray:
    """Returns the first pictures in a larger size that is not square, continued by their mirror image."""
    height, width = (_STEP_PIXELS * (size // _STEP_PIXELS + 1) for size in images.shape[2:])
    more = ((0, 0), (0, 0), (0, height - images.shape[2]), (0, width + _STEP_PIXELS - images.shape[3]))
    return np.pad(images[:_PICTURES_OF_ANOTHER_SIZE], more, mode="symmetric")


def _run_torch(network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    def run(images: np.ndarray) -> np.ndarray:
        if not len(images):
            return np.zeros((0, 0), np.float32)
        with torch.inference_mode():
            logits: np.ndarray = network(torch.from_numpy(images)).numpy()
        return logits

    return run
