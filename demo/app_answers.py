"""What the app asks of the package: opened models, answers with their time, and where a model looked."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app_looking import looked_picture, pixels_of
from PIL import Image

from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.errors import BeitError
from modelscope_beit.export.opening import exported_folder, open_model_or_export
from modelscope_beit.features.relevance import relevance_map
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.network.precision import ClassifierInForm, form_in
from modelscope_beit.prediction.answering import answering_model, shipped_pictures
from modelscope_beit.prediction.stream import Prediction, predict_stream
from modelscope_beit.prediction.tables import row_format
from modelscope_beit.settings.inference import InferenceSettings

EXACT = "fp32"
PRECISIONS = (EXACT, "bf16", "int8")
TOPK = 5
_BATCH = 32
# A spreadsheet takes a table for UTF-8 only if it begins with this.
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}".encode()


@dataclass(frozen=True)
class Answer:
    """What a model says of a picture, and the seconds that it took to read, prepare and classify it."""

    prediction: Prediction
    seconds: float
    model: str
    precision: str


@dataclass(frozen=True)
class Results:
    """What a model says of many pictures, and the seconds that it took; or the problem because of which it does not."""

    predictions: tuple[Prediction, ...]
    seconds: float
    problem: str | None = None


class Models:
    """The models that visitors choose from: opened once, shared by all of them, changed by none.

    names: hub ids, folders, exported files or the word embedded. Raises BeitError for one that cannot be opened.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._opened = {name: _open(local_path(name)) for name in names}
        # Here, and not at the first question: the fast form changes weights that another thread might compute with.
        self._answering = {(name, EXACT): _warm(_in_fast_form(model)) for name, model in self._opened.items()}

    @property
    def names(self) -> list[str]:
        """What a visitor chooses from."""
        return list(self._opened)

    def answer(self, source: str, name: str, precision: str) -> Answer:
        """Returns what a model says of one picture; what is wrong with the picture or the wish is in the answer."""
        try:
            model = self._answering_in(name, precision)
        except BeitError as error:
            return Answer(Prediction(source, error=str(error)), 0.0, name, precision)
        start = time.perf_counter()
        (prediction,) = predict_stream(model, [source], workers=1, batch_size=1, topk=TOPK)
        return Answer(prediction, time.perf_counter() - start, name, precision)

    def answers(self, sources: Sequence[str], name: str, precision: str) -> Iterator[Prediction]:
        """Yields what a model says of many pictures, in their order; raises BeitError if it cannot answer like that."""
        return predict_stream(self._answering_in(name, precision), sources, batch_size=_BATCH, topk=TOPK)

    def looked(self, source: str, answer: Answer) -> Image.Image:
        """Returns the picture as the network gets it, warm where it speaks for the best class; raises BeitError.

        The network is asked in float32 whatever the precision of the answer, for only there it has exact gradients.
        """
        model = self._opened[answer.model]
        image = model.transform(read_image(source))
        best = model.class_names.index(answer.prediction.labels[0])
        return looked_picture(pixels_of(image, model.transform), relevance_map(model.network, image, best))

    def _answering_in(self, name: str, precision: str) -> OpenedModel:
        with self._lock:
            if (name, precision) not in self._answering:
                wanted = InferenceSettings(precision)
                self._answering[name, precision] = _warm(answering_model(self._opened[name], wanted, batch_size=1))
            return self._answering[name, precision]


def table(predictions: Sequence[Prediction]) -> bytes:
    """Returns the csv file of `beit predict --out`, with a mark in front by which spreadsheets know its encoding."""
    with_unknown = any(prediction.is_unknown is not None for prediction in predictions)
    topk = max(len(prediction.labels) for prediction in predictions)
    form = row_format(Path("predictions.csv"), topk, with_unknown=with_unknown)
    return _MARK + form.head + b"".join(map(form.row, predictions))


def _open(path: Path) -> OpenedModel:
    return open_model_or_export(path, device="cpu" if exported_folder(path) else "auto")


def _in_fast_form(model: OpenedModel) -> OpenedModel:
    return replace(model, network=ClassifierInForm(model.network, form_in(model.network, EXACT, in_place=True)))


def _warm(model: OpenedModel) -> OpenedModel:
    """Returns the model after a first answer, in which memory is laid out: no visitor's time should show that."""
    list(predict_stream(model, shipped_pictures()[:1], workers=1, batch_size=1))
    return model
