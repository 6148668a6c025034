"""The image classification pipeline, under every name of the stock one."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from modelscope.outputs import OutputKeys
from modelscope.pipelines.base import Pipeline
from modelscope.pipelines.builder import PIPELINES
from modelscope.preprocessors.base import Preprocessor

from modelscope_beit import names
from modelscope_beit.errors import CheckpointError, SettingsError, require
from modelscope_beit.images.fast_transform import FastTransform
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.fast_decoding import fast_transform
from modelscope_beit.model_folder.opening import read_folder_settings
from modelscope_beit.network.precision import form_in
from modelscope_beit.plugin.batching import answers, check_count, passes
from modelscope_beit.plugin.host_fixes import register_over
from modelscope_beit.plugin.hub import download_model
from modelscope_beit.plugin.inputs import is_stream, picture_in
from modelscope_beit.plugin.model import ClassificationModel
from modelscope_beit.plugin.preprocessor import (
    ImageClassificationBypassPreprocessor,
    ImageClassificationMmcvPreprocessor,
)
from modelscope_beit.plugin.routing import is_ours
from modelscope_beit.prediction.answering import answering_network
from modelscope_beit.prediction.classifying import Answers, classify, top_classes
from modelscope_beit.settings.inference import TORCH, InferenceSettings

_STOCK_MODULE = "modelscope.pipelines.cv.image_classification_pipeline"
# Precision "auto" is measured before the first call says how many pictures share a pass.
_MEASURED_BATCH = 8


class BeitImageClassificationPipeline(Pipeline):
    """Pictures to class names with probabilities, as the stock pipeline gives them; calls are thread-safe.

    model: a model folder, a hub id, or a ClassificationModel, whose weights count as they are at the first call.
    preprocessor: called with an array (H, W, 3), blue, green, red, instead of the folder's own; gives {"img": pixels}.
    device: "cpu", "gpu", "gpu:1", "cuda:1"; the processor where there is no GPU.
    precision: "fp32", which is exact, "bf16", "fp16", "int8" or "auto". backend: "torch", "openvino", "onnxruntime" or
    "auto". calibration: a folder of pictures or a list of them, for int8. See settings.inference for all three.
    fast_decode: reads and resizes faster; the pixels may be off a little, see images/fast_transform.py.
    kwargs: what the host's Pipeline and Model know (trust_remote_code, device_map, compile, compile_options).
    """

    _model_prepare: bool
    _network: torch.nn.Module

    def __init__(
        self,
        model: str | ClassificationModel,
        preprocessor: Preprocessor | None = None,
        config_file: str | None = None,
        device: str = "gpu",
        auto_collate: bool = True,
        precision: str = "fp32",
        backend: str = TORCH,
        calibration: str | Sequence[Any] = (),
        fast_decode: bool = False,
        **kwargs: Any,
    ) -> None:
        self._wanted = InferenceSettings(precision, backend, calibration)
        # Weights that only this pipeline uses may be changed for speed.
        self._owns_model = isinstance(model, str)
        if isinstance(model, str):
            model = ClassificationModel(_local_folder(model), device=device, **kwargs)
        # Given a preprocessor, the host builds none; a configured bypass preprocessor would answer with nothing.
        if preprocessor is None or isinstance(preprocessor, ImageClassificationBypassPreprocessor):
            preprocessor = ImageClassificationMmcvPreprocessor(
                model.model_dir, trust_remote_code=model.trust_remote_code
            )
        self._fast = _fast_transform(model, preprocessor) if fast_decode else None
        super().__init__(
            config_file=config_file,
            model=model,
            preprocessor=preprocessor,
            device=device,
            auto_collate=auto_collate,
            **kwargs,
        )

    @classmethod
    def _instantiate(cls, **kwargs: Any) -> Pipeline:
        """Builds the pipeline, or the stock one for a model that is none of ours: untouched, with the same keywords."""
        model = kwargs.get("model")
        if isinstance(model, str):
            model = kwargs["model"] = _local_folder(model)
        if isinstance(model, ClassificationModel) or (isinstance(model, str) and is_ours(model)):
            return cls(**kwargs)
        stock = require(_STOCK_MODULE, extra="openmmlab", purpose="for models of other classes")
        pipeline: Pipeline = stock.GeneralImageClassificationPipeline(**kwargs)
        return pipeline

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns {"scores": [...], "labels": [...]} of a picture, best class first.

        input: a path, URL, picture, array (blue, green, red) or a mapping that holds one (a row of a data set).
            A list gives the list of results; a generator, iterator or data set gives a generator of results.
        batch_size: pictures per pass through the network; None: one, and nothing is read ahead.
        topk: classes per picture, 5 unless told, at most all. Other keywords are passed over, as the host does.
        Scores are numpy.float64: they have `.item()` and can be written as JSON. Of a folder that `beit calibrate` has
        calibrated each result has "unknown" too: whether the picture is of none of the classes, True or False.
        Raises ImageError for a picture that cannot be read; in a list or stream it ends the call, naming the place.
        """
        batch_size = kwargs.pop("batch_size", None)
        check_count("batch_size", 1 if batch_size is None else batch_size)
        check_count("topk", kwargs.get("topk", 1))
        self.prepare_model()
        parameters = self._sanitize_parameters(**kwargs)
        if is_stream(input):
            return self._results(input, batch_size, parameters)
        if isinstance(input, list | tuple):
            return list(self._results(input, batch_size, parameters))
        return self._result(self.preprocess(input, **parameters[0]), parameters)

    def prepare_model(self) -> None:
        """Moves the network to its device and brings it into its fastest form; later calls do nothing."""
        if self._model_prepare:
            return
        with self._model_prepare_lock:
            if self._model_prepare:
                return
            self.model.to(self.device).eval()
            self._network = self._form()
            if self._compile:
                self._network.compile(**self._compile_options)
            self._model_prepare = True

    def _form(self) -> torch.nn.Module:
        network = self.model.cls_model
        if self._wanted == InferenceSettings():
            return form_in(network, "fp32", in_place=self._owns_model)
        return answering_network(
            network,
            self._wanted,
            lambda picture: self.preprocess(picture)["img"][0],
            folder=Path(self.model.model_dir),
            batch_size=_MEASURED_BATCH,
        )

    def preprocess(self, inputs: Any, **preprocess_params: Any) -> dict[str, torch.Tensor]:
        """Returns {"img": pixels (1, 3, H, W)} of one picture, normalised."""
        if self._fast is not None:
            return {"img": self._fast(self._fast.read(picture_in(inputs)))[None]}
        picture: Any = read_image(picture_in(inputs))
        if not isinstance(self.preprocessor, ImageClassificationMmcvPreprocessor):
            picture = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
        pixels: torch.Tensor = self.preprocessor(picture, **preprocess_params)["img"]
        return {"img": pixels[None] if pixels.ndim == 3 else pixels}

    def forward(self, inputs: dict[str, Any], **forward_params: Any) -> np.ndarray | Answers:
        """Returns class probabilities (N, K), float32, of {"img": pixels (N, 3, H, W)}.

        Of a calibrated folder they come in Answers, which also tell which pictures are unknown.
        """
        self.prepare_model()
        images = inputs["img"]
        # Without a crop among the steps, pictures keep sizes of their own; the fast form has only one.
        fits = images.shape[2:] == self.model.cls_model.settings.image_size
        network = self._network if fits else self.model.cls_model
        answers = classify(network, images, self.model.confidence)
        return answers.probabilities if self.model.confidence is None else answers

    def postprocess(self, inputs: Any, topk: int = 5, **post_params: Any) -> dict[str, Any]:
        """Returns the best classes of the first row of what forward gives.

        Raises CheckpointError if they are not finite: an answer would be arbitrary.
        """
        probabilities = inputs.probabilities if isinstance(inputs, Answers) else np.asarray(inputs)
        (best,) = top_classes(probabilities[:1], self.model.CLASSES, topk)
        if not np.isfinite(best.scores).all():
            raise CheckpointError(
                f"The network in {self.model.model_dir} gives scores that are not finite numbers; "
                "its weights are broken. Download or convert the folder again."
            )
        result = {OutputKeys.SCORES: list(best.scores.astype(np.float64)), OutputKeys.LABELS: list(best.labels)}
        return {**result, names.UNKNOWN: inputs.are_unknown[0]} if isinstance(inputs, Answers) else result

    def _result(self, prepared: dict[str, Any], parameters: tuple[dict, dict, dict]) -> dict[str, Any]:
        return self.postprocess(self.forward(prepared, **parameters[1]), **parameters[2])

    def _results(
        self, inputs: Iterable[Any], batch_size: int | None, parameters: tuple[dict, dict, dict]
    ) -> Iterator[dict[str, Any]]:
        """Results in order."""

        def answer(batch: list[dict[str, torch.Tensor]]) -> Iterator[dict[str, Any]]:
            for images in passes([prepared["img"] for prepared in batch]):
                for one in _each(self.forward({"img": images}, **parameters[1])):
                    yield self.postprocess(one, **parameters[2])

        return answers(inputs, batch_size, lambda value: self.preprocess(value, **parameters[0]), answer)


def _each(found: np.ndarray | Answers) -> Iterator[np.ndarray | Answers]:
    """What forward gives of each picture of a batch."""
    if isinstance(found, Answers):
        for row, is_unknown in zip(*found, strict=True):
            yield Answers(row[None], [is_unknown])
    else:
        yield from np.split(found, len(found))


def _fast_transform(model: ClassificationModel, preprocessor: Preprocessor) -> FastTransform:
    if not isinstance(preprocessor, ImageClassificationMmcvPreprocessor):
        raise SettingsError(
            f"fast_decode takes the place of the model's own preprocessor, but a {type(preprocessor).__name__} was "
            "given; leave out one of the two."
        )
    settings = read_folder_settings(Path(model.model_dir), trust_remote_code=model.trust_remote_code)
    return fast_transform(settings.preprocessing)


def _local_folder(model: str) -> str:
    return model if os.path.exists(model) else str(download_model(model))


register_over(_STOCK_MODULE, PIPELINES, names.TASK, names.PIPELINES, BeitImageClassificationPipeline)
