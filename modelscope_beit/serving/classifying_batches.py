"""Bytes of pictures -> rows of an answer, by the road of `beit predict`. What workers run."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from modelscope_beit import __version__
from modelscope_beit.model_folder.fast_decoding import fast_decoding
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.names import UNKNOWN
from modelscope_beit.network.precision import ClassifierInForm, form_in
from modelscope_beit.prediction.run_record import model_digest
from modelscope_beit.prediction.stream import Prediction, predict_stream


class BatchClassifier:
    """Classifies pictures of strangers, several in one pass.

    model: its network is brought into its fast form once, in place, as predict_stream does. max_pixels: of a picture.
    threads: that decode. fast_decode: see images/fast_transform.py.
    """

    def __init__(self, model: OpenedModel, *, max_pixels: int, threads: int = 1, fast_decode: bool = False) -> None:
        self.about = {"model": model_digest(model.folder), "version": __version__, "classes": len(model.class_names)}
        model = fast_decoding(model) if fast_decode else model
        network = ClassifierInForm(model.network, form_in(model.network, "fp32", in_place=True))
        self._model = replace(model, network=network)
        self._max_pixels = max_pixels
        self._threads = threads

    def __call__(self, contents: Sequence[bytes], topk: int) -> list[dict[str, Any]]:
        """Returns a row for each content of a picture file: "labels" and "scores", and perhaps "unknown" or "error".

        Of a picture with too many pixels also "status": the one of a request that has no other picture.
        """
        refused = {place: text for place, content in enumerate(contents) if (text := self._refusal(content))}
        left = [content for place, content in enumerate(contents) if place not in refused]
        found = predict_stream(self._model, left, batch_size=max(1, len(left)), workers=self._threads, topk=topk)
        rows = [
            _row(Prediction("", error=refused[place])) | {"status": 413} if place in refused else _row(next(found))
            for place in range(len(contents))
        ]
        found.close()
        return rows

    def warm_up(self, batch: int) -> None:
        """Answers once alone and once in a batch, so that no client waits for what the first passes set up."""
        file = io.BytesIO()
        Image.new("RGB", (256, 256), "grey").save(file, "PNG")
        for count in (1, batch):
            self([file.getvalue()] * count, 1)

    def _refusal(self, content: bytes) -> str | None:
        """Returns why a picture is not decoded; None also for what cannot be read, whose reason reading tells."""
        try:
            width, height = Image.open(io.BytesIO(content)).size
        # Pillow's readers let errors of every kind escape when the bytes are broken on purpose. Nothing is lost: the
        # picture goes on to predict_stream, which meets the same error and tells it in the row.
        except Exception:
            return None
        if width * height <= self._max_pixels:
            return None
        return f"The picture has {width}x{height} pixels, but at most {self._max_pixels} are read here."


def _row(prediction: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {"labels": prediction.labels, "scores": prediction.scores}
    if prediction.is_unknown is not None:
        row[UNKNOWN] = prediction.is_unknown
    return row if prediction.error is None else row | {"error": prediction.error}
