"""The model that ModelScope builds for a folder for semantic segmentation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelscope.models.base.base_torch_model import TorchModel
from modelscope.models.builder import MODELS
from modelscope.outputs import OutputKeys
from torch import Tensor

from modelscope_beit import names
from modelscope_beit.model_folder.segmentation import open_segmentation
from modelscope_beit.prediction.segmenting import segmentation_logits


class BeitSegmentationModel(TorchModel):
    """A folder for semantic segmentation, on the processor until it is moved.

    network: pictures to logits. CLASSES: one name for each class. transform: picture to the network's input.
    The host adds keywords of its own (device, the content of `model` in configuration.json): they are passed over.
    """

    def __init__(self, model_dir: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(model_dir, *args, **kwargs)
        opened = open_segmentation(Path(model_dir))
        self.network = opened.network
        self.CLASSES = opened.settings.class_names
        self.transform = opened.transform

    # The host looks at the name: a lone `inputs` is called with one mapping.
    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Returns {"logits": (N, K, rows, columns), float32} of {"img": (N, 3, H, W), normalised}."""
        return {OutputKeys.LOGITS: segmentation_logits(self.network, inputs["img"])}


for task in names.SEGMENTATION_TASKS:
    MODELS.register_module(task, module_name=names.SEGMENTATION, module_cls=BeitSegmentationModel)
