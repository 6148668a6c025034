"""Oracles: the formula of one linear layer, mmcls's heads."""

import pytest
import torch

import helpers
from modelscope_beit.network.head import ClassificationHead
from modelscope_beit.settings.model import BackboneSettings, ModelSettings, model_settings

ONE_TOKEN = BackboneSettings(width=4, num_heads=1)
TWO_TOKENS = model_settings("vit", "base", width=4, num_heads=1, distilled=True, pooling="two_tokens").backbone
NAMES = {"pre_logits": "pre_logits", "head": "fc", "head_dist": "fc_dist"}


def test_classification_head__is_one_linear_layer_named_fc() -> None:
    head = ClassificationHead(ModelSettings(ONE_TOKEN, 3))
    features = torch.randn(2, 4)
    assert sorted(head.state_dict()) == ["fc.bias", "fc.weight"]
    torch.testing.assert_close(head(features), features @ head.fc.weight.T + head.fc.bias)


@pytest.mark.openmmlab
@pytest.mark.parametrize("hidden_width", [None, 6])
@pytest.mark.parametrize(("kind", "backbone"), [("VisionTransformerClsHead", ONE_TOKEN), ("DeiTClsHead", TWO_TOKENS)])
def test_classification_head__gives_the_logits_of_mmcls(
    kind: str, backbone: BackboneSettings, hidden_width: int | None
) -> None:
    models = pytest.importorskip("mmcls.models", reason="mmcls's heads are the oracle")
    theirs = models.build_head({"type": kind, "num_classes": 3, "in_channels": 4, "hidden_dim": hidden_width})
    helpers.with_random_weights(theirs)
    ours = ClassificationHead(ModelSettings(backbone, 3, hidden_width=hidden_width))
    ours.load_state_dict(
        {f"{NAMES[name]}.{part}": w for key, w in theirs.state_dict().items() for _, name, part in [key.split(".")]}
    )
    tokens = torch.randn(2, 2, 4)
    features = tokens if backbone.distilled else tokens[:, 0]
    given = (None, tokens[:, 0], tokens[:, 1]) if backbone.distilled else (None, tokens[:, 0])
    with torch.no_grad():
        wanted = theirs.simple_test((given,), softmax=False, post_process=False)
        torch.testing.assert_close(ours(features), wanted)
