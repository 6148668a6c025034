from pathlib import Path

import torch
from modelscope.models import Model

from modelscope_beit.plugin.segmentation_model import BeitSegmentationModel
from segmentation_models import LABELS, logits_of, transformers_segmentation, write_our_folder


def test_from_pretrained__is_our_model_with_transformers_logits(tmp_path: Path) -> None:
    model = Model.from_pretrained(str(write_our_folder(tmp_path / "ours")))
    assert isinstance(model, BeitSegmentationModel) and model.CLASSES == LABELS
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = model({"img": images})["logits"]
    torch.testing.assert_close(found, logits_of(transformers_segmentation(), images), atol=1e-4, rtol=0)
