"""The model that ModelScope builds for `model.type: ClassificationModel`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from modelscope.models.base.base_torch_model import TorchModel
from modelscope.models.builder import MODELS
from modelscope.utils.hub import read_config

from modelscope_beit import names
from modelscope_beit.errors import ImageError, require
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.plugin.host_fixes import register_over
from modelscope_beit.plugin.routing import is_ours
from modelscope_beit.prediction.classifying import classify

_STOCK_MODULE = "modelscope.models.cv.image_classification.mmcls_model"


class ClassificationModel(TorchModel):
    """A model folder as ModelScope's scripts know it, on the processor until it is moved.

    cls_model: the network, pictures to logits. CLASSES: the class names, one per row of its head.
    confidence: temperature and threshold of a calibrated folder, else None.
    config_type: "mmcv_config" if the folder is described by a config.py, else "ms_config".
    The host adds keywords of its own (device, the content of `model` in configuration.json): they are passed over.
    """

    def __init__(self, model_dir: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(model_dir, *args, **kwargs)
        opened = open_model(model_dir, trust_remote_code=self.trust_remote_code)
        self.cls_model = opened.network
        self.CLASSES = opened.class_names
        self.confidence = opened.confidence
        self.cfg = read_config(model_dir)
        has_python_config = (Path(model_dir) / names.MM_CONFIGURATION_FILE).exists()
        self.config_type = "mmcv_config" if has_python_config else "ms_config"

    @classmethod
    def _instantiate(cls, **kwargs: Any) -> TorchModel:
        """Builds the model, or the stock one for a folder that needs mmcls."""
        if is_ours(kwargs["model_dir"]):
            return cls(**kwargs)
        stock = require(_STOCK_MODULE, extra="openmmlab", purpose="for networks of mmcls")
        model: TorchModel = stock.ClassificationModel(**kwargs)
        return model

    # The host looks at the name: a lone `inputs` is called with one mapping.
    def forward(self, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        """Returns the class probabilities (K,), float32, of each of N pictures.

        inputs: "img", (N, 3, H, W), normalised; other keys (img_metas, return_loss) are passed over.
        """
        if not isinstance(inputs, Mapping) or "img" not in inputs:
            came = f"the keys {list(inputs)}" if isinstance(inputs, Mapping) else f"a {type(inputs).__name__}"
            raise ImageError(f"The model expects a mapping with the pictures (N, 3, H, W) under 'img', got {came}.")
        return list(classify(self.cls_model, inputs["img"], self.confidence).probabilities)


register_over(_STOCK_MODULE, MODELS, names.TASK, [names.MODEL], ClassificationModel)
