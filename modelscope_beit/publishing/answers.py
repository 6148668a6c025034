"""Golden answers: pictures that are published with a model, and what the source says of them."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image

from modelscope_beit.errors import ImageError
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.finding import EMBEDDED, find_model_folder
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.names import PICTURE_SUFFIXES
from modelscope_beit.prediction.stream import predict_stream

RESOURCES = "resources"
ANSWERS_FILE = f"{RESOURCES}/answers.json"
_PICTURES = f"{RESOURCES}/pictures"
# The package has two pictures of each of ten classes; five of different classes are enough to notice a change.
_EVERY = 4
_TOPK = 5
EXAMPLE_NAME = "example.png"
_EXAMPLE_PIXELS = 1024


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture; the picture's place is below the folder, with slashes."""

    picture: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]


def write_answers(model: OpenedModel, folder: Path, example: Path | None, *, calibrated: bool = True) -> list[Answer]:
    """Copies pictures to resources/pictures, writes what the model says of them, and returns it.

    model: its network is brought into its fast form. example: a picture of the user's, which comes first, upright, at
    most 1024 pixels wide and high and without metadata; after it, small ones that come with the package.
    calibrated: with the temperature of `beit calibrate`, where there is one.
    Raises ImageError if a picture cannot be read.
    """
    pictures = _copy_pictures(folder, example)
    asked = model if calibrated else replace(model, confidence=None)
    paths = [str(folder / picture) for picture in pictures]
    answers = []
    for picture, found in zip(pictures, predict_stream(asked, paths, batch_size=1, topk=_TOPK), strict=True):
        if found.error is not None:
            raise ImageError(f"{picture} cannot be classified: {found.error}")
        answers.append(Answer(picture, found.labels, found.scores))
    about = "what the model said of these pictures before it was published, best class first, scores from 0 to 1"
    text = json.dumps({"about": about, "answers": [asdict(answer) for answer in answers]}, indent=2, ensure_ascii=False)
    (folder / ANSWERS_FILE).write_text(f"{text}\n", encoding="utf-8")
    return answers


def read_answers(folder: Path) -> list[Answer]:
    """Returns what write_answers has written; raises OSError, ValueError, KeyError or TypeError if it cannot."""
    content = json.loads((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
    return [Answer(row["picture"], tuple(row["labels"]), tuple(row["scores"])) for row in content["answers"]]


def largest_difference(expected: Sequence[Answer], found: Sequence[Answer]) -> tuple[float, str]:
    """Returns how far scores are apart, from 0 to 1, and the picture where they are.

    The score of each expected label is compared with the one that the other answer gives the same label; a label that
    it does not name counts as 0, so that only classes as good as equal may change places.
    """
    largest, where = 0.0, ""
    for one, other in zip(expected, found, strict=True):
        scores = dict(zip(other.labels, other.scores, strict=True))
        gaps = [abs(score - scores.get(label, 0.0)) for label, score in zip(one.labels, one.scores, strict=True)]
        # Whatever the names are, the n-th best score is that of the n-th best class.
        gaps += [abs(score - found_score) for score, found_score in zip(one.scores, other.scores, strict=False)]
        if max(gaps) > largest:
            largest, where = max(gaps), one.picture
    return largest, where


def _copy_pictures(folder: Path, example: Path | None) -> list[str]:
    target = folder / _PICTURES
    target.mkdir(parents=True)
    packaged = find_model_folder(EMBEDDED) / "pictures"
    chosen = sorted(path for path in packaged.iterdir() if path.suffix in PICTURE_SUFFIXES)[::_EVERY]
    shutil.copyfile(packaged / "LICENSE", target / "LICENSE")
    for path in chosen:
        shutil.copyfile(path, target / path.name)
    told = [path.name for path in chosen]
    if example is not None:
        # A photograph's file may tell where and when it was taken, and by whom; its pixels are all that is needed.
        picture = read_image(example).copy()
        picture.thumbnail((_EXAMPLE_PIXELS, _EXAMPLE_PIXELS))
        Image.frombytes(picture.mode, picture.size, picture.tobytes()).save(target / EXAMPLE_NAME)
        told.insert(0, EXAMPLE_NAME)
    return [f"{_PICTURES}/{name}" for name in told]
