from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modelscope_beit.checkpoints.convert import complete, from_native, rename, to_native
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.checkpoints.infer import Hints, infer_settings
from modelscope_beit.checkpoints.key_tables import MMCLS_VIT
from modelscope_beit.checkpoints.load import classifier_with
from modelscope_beit.checkpoints.recognise import recognise
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.mm_model import read_mm_model
from modelscope_beit.settings.model import ModelSettings, model_settings


def assert_equal_logits(model: Any, state: dict[str, Tensor], logits: Any, hints: Hints | None = None) -> None:
    """Ours gives the logits of the other library, and the way back gives its tensors, bit by bit."""
    layout = recognise(state)
    renamed = rename(state, layout)
    settings = infer_settings(renamed, hints)
    conversion = complete(renamed, settings)
    assert (logits(classifier_with(settings, conversion.tensors)) - logits(model)).abs().max() < 1e-5
    back = from_native(conversion.tensors, layout)
    assert back.keys() == state.keys() - set(conversion.dropped)
    assert all(torch.equal(back[key], state[key]) for key in back)
    assert set(conversion.mapped) == back.keys() and not conversion.initialised


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("beitv2_base_patch16_224", {}),
        ("beit_base_patch16_224", {"use_abs_pos_emb": True, "init_values": None}),
        ("beitv2_base_patch16_224", {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}),
        ("beitv2_base_patch16_224", {"global_pool": "token"}),
        ("vit_base_patch16_224", {}),
        ("vit_base_patch16_224", {"init_values": 0.1, "global_pool": "avg"}),
        ("deit_base_patch16_224", {}),
        ("deit_base_distilled_patch16_224", {}),
        ("deit_base_distilled_patch16_224", {"qkv_bias": False}),
    ],
)
def test_to_native__timm_gives_equal_logits_and_comes_back(
    timm_model: Any, logits: Any, architecture: str, arguments: dict[str, Any]
) -> None:
    model = timm_model(architecture, **arguments)
    assert_equal_logits(model, model.state_dict(), logits)


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("BeitForImageClassification", {}),
        (
            "BeitForImageClassification",
            {
                "use_relative_position_bias": False,
                "use_shared_relative_position_bias": True,
                "use_absolute_position_embeddings": True,
                "use_mean_pooling": False,
            },
        ),
        ("BeitForImageClassification", {"layer_scale_init_value": 0.0}),
        ("ViTForImageClassification", {}),
        ("ViTForImageClassification", {"qkv_bias": False}),
        ("DeiTForImageClassificationWithTeacher", {}),
        ("DeiTForImageClassification", {}),
    ],
)
def test_to_native__transformers_gives_equal_logits_and_comes_back(
    transformers_model: Any, tmp_path: Path, logits: Any, name: str, configuration: dict[str, Any]
) -> None:
    model = transformers_model(name, **configuration)
    model.save_pretrained(tmp_path)
    assert_equal_logits(model, read_weights(tmp_path / "model.safetensors").tensors, logits)
    assert_equal_logits(model, model.state_dict(), logits)


@pytest.mark.openmmlab
@pytest.mark.parametrize("hidden_dim", [None, 96])
@pytest.mark.parametrize(
    ("kind", "head_kind"),
    [("VisionTransformer", "VisionTransformerClsHead"), ("DistilledVisionTransformer", "DeiTClsHead")],
)
def test_to_native__mmcls_vit_gives_equal_logits_and_comes_back(
    logits: Any, kind: str, head_kind: str, hidden_dim: int | None
) -> None:
    models = pytest.importorskip("mmcls.models", reason="the oracle is mmcls")
    import helpers

    arch = {"embed_dims": 128, "num_layers": 2, "num_heads": 4, "feedforward_channels": 192}
    backbone = {"type": kind, "arch": arch, "img_size": 64, "patch_size": 16}
    head = {"type": head_kind, "num_classes": 5, "in_channels": 128, "hidden_dim": hidden_dim}
    model = models.build_classifier({"type": "ImageClassifier", "backbone": backbone, "head": head})
    model = helpers.with_random_weights(model).eval()
    model.forward = lambda images: model.simple_test(images, [{}], softmax=False, post_process=False)
    assert_equal_logits(model, model.state_dict(), logits, Hints(num_heads=4))
    # mmcls interpolates positions for pictures of another size in the forward pass, as we do.
    ours = to_native(model.state_dict(), MMCLS_VIT, read_mm_model({"backbone": backbone, "head": head}))
    wide = torch.randn(2, 3, 48, 96, generator=torch.Generator().manual_seed(1))
    network = classifier_with(read_mm_model({"backbone": backbone, "head": head}), ours.tensors)
    assert (logits(network, wide) - logits(model, wide)).abs().max() < 1e-5


@pytest.mark.openmmlab
def test_to_native__stock_modelscope_beit_gives_equal_logits(logits: Any) -> None:
    pytest.importorskip("mmcls", reason="ModelScope's BEiTv2 is an mmcls component")
    from modelscope.models.cv.image_classification.backbones.beit_v2 import BEiTv2

    import helpers

    backbone = BEiTv2(
        arch="base", img_size=32, qkv_bias=True, init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True
    )
    helpers.with_random_weights(backbone).eval()
    head = torch.nn.Linear(768, 5)
    # mmcls' LinearClsHead holds its one layer as `fc`.
    state = {f"backbone.{key}": tensor for key, tensor in backbone.state_dict().items()}
    state |= {f"head.fc.{key}": tensor for key, tensor in head.state_dict().items()}
    layout = recognise(state)
    assert layout.name == "modelscope"
    renamed = rename(state, layout)
    settings = infer_settings(renamed)
    conversion = complete(renamed, settings)
    assert set(conversion.dropped) == {key for key in state if key.endswith("relative_position_index")}
    pictures = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ours = classifier_with(settings, conversion.tensors).eval()
    with torch.no_grad():
        features = backbone(pictures)
        expected = head(features if isinstance(features, Tensor) else features[-1])
        assert (ours(pictures) - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("size", ["base", pytest.param("large", marks=pytest.mark.slow)])
def test_to_native__published_sizes_of_timm(timm_model: Any, logits: Any, size: str) -> None:
    width, depth, heads, num_parameters = {
        "base": (768, 12, 12, 86_530_984),
        "large": (1024, 24, 16, 304_430_568),
    }[size]
    arguments = {"img_size": 224, "embed_dim": width, "depth": depth, "num_heads": heads, "mlp_ratio": 4.0}
    model = timm_model(f"beitv2_{size}_patch16_224", num_classes=1000, **arguments)
    assert sum(weight.numel() for weight in model.parameters()) == num_parameters
    pictures = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # Random weights of this size give logits far from 1; the tolerance is relative to them.
        scale = model(pictures).abs().max().clamp(min=1)

    def run(network: Any) -> Tensor:
        return logits(network, pictures) / scale

    assert_equal_logits(model, model.state_dict(), run)


@pytest.fixture
def settings(unilm_state: dict[str, Tensor]) -> ModelSettings:
    return infer_settings(rename(unilm_state, recognise(unilm_state)))


def test_to_native__drops_index_buffers(unilm_state: dict[str, Tensor], settings: ModelSettings) -> None:
    conversion = to_native(unilm_state, recognise(unilm_state), settings)
    assert conversion.dropped == tuple(key for key in unilm_state if key.endswith("index"))


def test_to_native__masked_image_model_leaves_exactly_what_unilm_leaves(
    masked_image_state: dict[str, Tensor], settings: ModelSettings
) -> None:
    conversion = to_native(masked_image_state, recognise(masked_image_state), settings, new_head=True)
    leftovers = ("mask_token", "norm.", "lm_head.", "cls_pt_layers.", "rel_pos_bias.relative_position_index")
    assert set(conversion.dropped) == {key for key in masked_image_state if key.startswith(leftovers)}
    assert set(conversion.initialised) == {
        "backbone.fc_norm.weight",
        "backbone.fc_norm.bias",
        "head.fc.weight",
        "head.fc.bias",
    }
    assert set(conversion.mapped) | set(conversion.dropped) == set(masked_image_state)
    assert torch.equal(conversion.tensors["backbone.fc_norm.weight"], torch.ones(128))
    assert torch.equal(conversion.tensors["backbone.fc_norm.bias"], torch.zeros(128))
    assert 1e-6 < conversion.tensors["head.fc.weight"].std() < 4e-5
    assert not conversion.tensors["head.fc.bias"].any()


def test_to_native__shared_table_is_copied_not_aliased(
    masked_image_state: dict[str, Tensor], settings: ModelSettings
) -> None:
    conversion = to_native(masked_image_state, recognise(masked_image_state), settings, new_head=True)
    shared = masked_image_state["rel_pos_bias.relative_position_bias_table"].clone()
    first, second = (conversion.tensors[f"backbone.blocks.{n}.attn.relative_position_bias_table"] for n in (0, 1))
    assert torch.equal(first, shared) and torch.equal(second, shared)
    first.zero_()
    assert torch.equal(second, shared)
    assert torch.equal(masked_image_state["rel_pos_bias.relative_position_bias_table"], shared)


def test_to_native__class_token_network_takes_the_final_norm_of_a_masked_image_model(
    masked_image_state: dict[str, Tensor], settings: ModelSettings
) -> None:
    pooled = replace(settings, backbone=replace(settings.backbone, pooling="class_token"))
    conversion = to_native(masked_image_state, recognise(masked_image_state), pooled, new_head=True)
    assert torch.equal(conversion.tensors["backbone.norm.weight"], masked_image_state["norm.weight"])
    assert set(conversion.initialised) == {"head.fc.weight", "head.fc.bias"}


def test_to_native__masked_image_model_without_asking_for_a_head_is_an_error(
    masked_image_state: dict[str, Tensor], settings: ModelSettings
) -> None:
    with pytest.raises(CheckpointError, match="new_head"):
        to_native(masked_image_state, recognise(masked_image_state), settings)


def test_to_native__lists_everything_that_does_not_fit(unilm_state: dict[str, Tensor], settings: ModelSettings) -> None:
    layout = recognise(unilm_state)
    del unilm_state["blocks.1.mlp.fc1.weight"]
    unilm_state["blocks.9.gamma_1"] = torch.zeros(128)
    unilm_state["cls_token"] = torch.zeros(1, 1, 64)
    with pytest.raises(CheckpointError) as error:
        to_native(unilm_state, layout, settings)
    _, missing, unexpected, wrong, _ = str(error.value).split("\n")
    assert missing == "- missing: blocks.1.mlp.fc1.weight"
    assert unexpected == "- unexpected: blocks.9.gamma_1"
    assert wrong == "- wrongly shaped: cls_token is (1, 1, 64), expected (1, 1, 128)"


def test_to_native__head_of_another_class_count(unilm_state: dict[str, Tensor], settings: ModelSettings) -> None:
    layout, other = recognise(unilm_state), settings.with_num_classes(7)
    with pytest.raises(CheckpointError, match=r"head.weight is \(5, 128\), expected \(7, 128\)[\s\S]*new_head"):
        to_native(unilm_state, layout, other)
    conversion = to_native(unilm_state, layout, other, new_head=True)
    assert conversion.initialised == ("head.fc.weight", "head.fc.bias")
    assert conversion.tensors["head.fc.weight"].shape == (7, 128)
    assert "head.weight" not in conversion.mapped


def test_to_native__new_head_of_a_distilled_network_with_a_hidden_layer() -> None:
    settings = model_settings("vit", "base", num_classes=5, width=32, depth=1, num_heads=2, distilled=True)
    settings = replace(settings, backbone=replace(settings.backbone, pooling="two_tokens"), hidden_width=24)
    state = from_native(build_classifier(settings).state_dict(), MMCLS_VIT)
    conversion = to_native(state, MMCLS_VIT, settings.with_num_classes(7), new_head=True)
    assert set(conversion.initialised) == {f"head.{n}.{k}" for n in ("fc", "fc_dist") for k in ("weight", "bias")}
    assert torch.equal(conversion.tensors["head.pre_logits.weight"], state["head.layers.pre_logits.weight"])
    assert {key: tensor.shape for key, tensor in conversion.tensors.items() if "dist" in key} == {
        "backbone.dist_token": (1, 1, 32),
        "head.fc_dist.weight": (7, 24),
        "head.fc_dist.bias": (7,),
    }


def test_to_native__new_head_keeps_a_head_that_fits(unilm_state: dict[str, Tensor], settings: ModelSettings) -> None:
    conversion = to_native(unilm_state, recognise(unilm_state), settings, new_head=True)
    assert torch.equal(conversion.tensors["head.fc.weight"], unilm_state["head.weight"])
    assert not conversion.initialised


def test_rename__incomplete_query_key_value_is_unexpected(transformers_model: Any) -> None:
    state = transformers_model("ViTForImageClassification").state_dict()
    layout = recognise(state)
    key = next(name for name in state if "key" in name or "k_proj" in name)
    del state[key]
    assert len(rename(state, layout).unexpected) == 2
