"""The semantic segmentation pipeline: pictures to a mask for every class that is in them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from modelscope.outputs import OutputKeys
from modelscope.pipelines.base import Pipeline
from modelscope.pipelines.builder import PIPELINES
from PIL import Image

from modelscope_beit import names
from modelscope_beit.images.reading import read_image
from modelscope_beit.plugin.batching import answers, check_count, passes
from modelscope_beit.plugin.inputs import is_stream, picture_in
from modelscope_beit.plugin.segmentation_model import BeitSegmentationModel
from modelscope_beit.prediction.segmenting import class_map, segments

# Beside the host's own keys, for those who want the numbers of the classes.
CLASS_MAP = "class_map"


class BeitSemanticSegmentationPipeline(Pipeline):
    """Pictures to masks, class names and scores; calls are thread-safe once the model is on its device.

    model: a folder that `beit convert` wrote, or a BeitSegmentationModel. device: "cpu", "gpu", "gpu:1", "cuda:1"; the
    processor where there is no GPU. preprocessor: called with an RGB picture instead of the folder's own steps; gives
    pixels (3, H, W). kwargs: what the host's Pipeline knows.
    """

    def __init__(
        self,
        model: str | BeitSegmentationModel,
        preprocessor: Callable[[Image.Image], torch.Tensor] | None = None,
        device: str = "gpu",
        **kwargs: Any,
    ) -> None:
        if isinstance(model, str):
            model = BeitSegmentationModel(model)
        super().__init__(model=model, preprocessor=preprocessor or model.transform, device=device, **kwargs)

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns {"masks": [...], "labels": [...], "scores": [...], "class_map": ...} of a picture.

        masks: (height, width) of the picture, uint8, 1 inside and 0 outside, one for each class that has a pixel, the
            largest first; every pixel is in one of them. labels: their class names. scores: numpy.float64, the mean
            probability of the class over its mask. class_map: (height, width), int32, the class number of each pixel.
        input: a path, URL, picture, array (blue, green, red) or a mapping that holds one (a row of a data set).
            A list gives the list of results; a generator, iterator or data set gives a generator of results.
        batch_size: pictures per pass through the network; None: one, and nothing is read ahead. Other keywords are
            passed over, as the host does.
        Raises ImageError for a picture that cannot be read; in a list or stream it ends the call, naming the place.
        """
        batch_size = kwargs.pop("batch_size", None)
        check_count("batch_size", 1 if batch_size is None else batch_size)
        if not self._model_prepare:
            self.prepare_model()
        if is_stream(input):
            return self._results(input, batch_size)
        if isinstance(input, list | tuple):
            return list(self._results(input, batch_size))
        (result,) = self._answer([self.preprocess(input)])
        return result

    def preprocess(self, inputs: Any, **preprocess_params: Any) -> dict[str, Any]:
        """Returns {"img": pixels (1, 3, H, W), normalised, "size": (height, width) of the picture itself}."""
        picture = read_image(picture_in(inputs))
        return {"img": self.preprocessor(picture)[None], "size": picture.size[::-1]}

    def forward(self, inputs: dict[str, Any], **forward_params: Any) -> dict[str, Any]:
        """Returns {"logits": (N, K, rows, columns)} of {"img": pixels (N, 3, H, W)}."""
        logits: dict[str, Any] = self.model.forward(inputs)
        return logits

    def postprocess(self, inputs: dict[str, Any], **post_params: Any) -> dict[str, Any]:
        """Returns the result of one picture.

        inputs: its "logits" (K, rows, columns) and its "size" (height, width).
        """
        found = class_map(inputs[OutputKeys.LOGITS], inputs["size"])
        parts = segments(found)
        return {
            OutputKeys.MASKS: [part.mask for part in parts],
            OutputKeys.LABELS: [self.model.CLASSES[part.class_number] for part in parts],
            OutputKeys.SCORES: [np.float64(part.score) for part in parts],
            CLASS_MAP: found.classes,
        }

    def _results(self, inputs: Iterable[Any], batch_size: int | None) -> Iterator[dict[str, Any]]:
        return answers(inputs, batch_size, self.preprocess, self._answer)

    def _answer(self, batch: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yields the result of each picture that was preprocessed."""
        sizes = iter([prepared["size"] for prepared in batch])
        for images in passes([prepared["img"] for prepared in batch]):
            for logits in self.forward({"img": images})[OutputKeys.LOGITS]:
                yield self.postprocess({OutputKeys.LOGITS: logits, "size": next(sizes)})


for task in names.SEGMENTATION_TASKS:
    PIPELINES.register_module(task, module_name=names.SEGMENTATION, module_cls=BeitSemanticSegmentationPipeline)
