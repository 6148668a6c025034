"""The two preprocessors that a configuration of ModelScope's image classification can name."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from modelscope.preprocessors.base import Preprocessor
from modelscope.preprocessors.builder import PREPROCESSORS
from modelscope.utils.constant import ModeKeys
from PIL import Image

from modelscope_beit import names
from modelscope_beit.errors import require
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.networks import evaluation_transform
from modelscope_beit.model_folder.opening import read_folder_settings
from modelscope_beit.plugin.host_fixes import register_over
from modelscope_beit.plugin.routing import is_ours

_STOCK_MODULE = "modelscope.preprocessors.cv.mmcls_preprocessor"
_STOCK_MODULE_OF_BYPASS = "modelscope.preprocessors.image"


# Both classes keep their stock names, because the stock pipeline asks for the name of its preprocessor's class.
class ImageClassificationMmcvPreprocessor(Preprocessor):
    """From one picture to the network's input, by the steps under `preprocessor.val` of a model folder.

    config_type: "mmcv_config" if the steps come from a config.py, else "ms_config".
    The host adds keywords of its own (the content of `preprocessor` in configuration.json): they are passed over.
    """

    def __init__(
        self, model_dir: str, mode: str = ModeKeys.INFERENCE, trust_remote_code: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(mode)
        folder = Path(model_dir)
        settings = read_folder_settings(folder, trust_remote_code=trust_remote_code)
        self.transform = evaluation_transform(settings.preprocessing)
        self.config_type = "mmcv_config" if (folder / names.MM_CONFIGURATION_FILE).exists() else "ms_config"

    @classmethod
    def _instantiate(cls, **kwargs: Any) -> Preprocessor:
        """Builds the preprocessor, or the stock one for a folder whose model is none of ours."""
        if is_ours(kwargs["model_dir"]):
            return cls(**kwargs)
        stock = require(_STOCK_MODULE, extra="openmmlab", purpose="for preprocessing by mmcls")
        preprocessor: Preprocessor = stock.ImageClassificationMmcvPreprocessor(**kwargs)
        return preprocessor

    def __call__(self, data: np.ndarray | Image.Image) -> dict[str, torch.Tensor]:
        """Returns {"img": pixels (3, H, W), float32, normalised}.

        data: an array (H, W, 3), uint8, in the order blue, green, red; or an RGB picture.
        """
        return {"img": self.transform(read_image(data))}


class ImageClassificationBypassPreprocessor(Preprocessor):
    """Keeps the configuration of a preprocessor for a trainer, and does nothing to a picture."""

    def __init__(
        self,
        mode: str = ModeKeys.INFERENCE,
        training: bool = True,
        train: Any = None,
        val: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(mode)
        self.training = training
        self.preprocessor_train_cfg = train
        self.preprocessor_val_cfg = val

    def train(self) -> None:
        """Says that training follows."""
        self.training = True

    def eval(self) -> None:
        """Says that evaluation follows."""
        self.training = False

    def __call__(self, results: Any) -> None:
        """Returns None, as the stock class does."""


register_over(
    _STOCK_MODULE,
    PREPROCESSORS,
    names.PREPROCESSOR_GROUP,
    [names.PREPROCESSOR],
    ImageClassificationMmcvPreprocessor,
)
register_over(
    _STOCK_MODULE_OF_BYPASS,
    PREPROCESSORS,
    names.PREPROCESSOR_GROUP,
    [names.BYPASS_PREPROCESSOR],
    ImageClassificationBypassPreprocessor,
)
