from pathlib import Path

import pytest
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.fast_decoding import fast_decoding, fast_transform
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.settings.foreign_steps import ForeignSteps


def test_fast_decoding__same_logits_from_bytes(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    model = open_model(tiny_model_folder)
    fast = fast_decoding(model)
    normalize = fast_transform(model.settings.preprocessing)
    for path in ten_images:
        picture = normalize.read(path)
        pixels = fast.transform(picture)
        assert pixels.dtype == torch.uint8
        with torch.no_grad():
            found, expected = fast.network(pixels[None].float()), model.network(normalize(picture)[None])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_fast_transform__steps_that_mmcls_makes() -> None:
    steps = ForeignSteps(({"type": "Albu"},), ("Only mmcls has Albu.",))
    with pytest.raises(SettingsError, match="that mmcls makes: Only mmcls has Albu"):
        fast_transform(steps)
