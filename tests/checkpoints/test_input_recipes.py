from typing import Any

import pytest
from PIL import Image
from torch import Tensor

from modelscope_beit.checkpoints.convert import rename
from modelscope_beit.checkpoints.infer import infer_settings
from modelscope_beit.checkpoints.input_recipes import (
    InputRecipe,
    guess_family,
    published_recipe,
    recipe_of,
    scaled_steps,
)
from modelscope_beit.checkpoints.recognise import recognise
from modelscope_beit.errors import CheckpointError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import model_settings
from modelscope_beit.settings.preprocessing import CenterCrop, Normalize, Resize, evaluation_steps, read_steps

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("beitv2_base_patch16_224_pt1k_ft21kto1k.pth", "beitv2"),
        ("BEiT2-large.bin", "beitv2"),
        ("beit_base_patch16_224_pt22k_ft22kto1k.pth", "beit"),
        ("pytorch_model.bin", "beitv2"),
    ],
)
def test_guess_family__by_name_else_by_default(unilm_state: dict[str, Tensor], name: str, family: str) -> None:
    renamed = rename(unilm_state, recognise(unilm_state))
    guessed, reason = guess_family(renamed, name)
    assert guessed == family
    assert ("by default" in reason) == (name == "pytorch_model.bin")


@pytest.mark.parametrize(("name", "family"), [("vit_b16.pth", "vit"), ("deit_small.pth", "deit"), ("x.bin", "vit")])
def test_guess_family__vit_or_deit(timm_model: Any, name: str, family: str) -> None:
    state = timm_model("vit_base_patch16_224").state_dict()
    assert guess_family(rename(state, recognise(state)), name)[0] == family


def test_guess_family__distillation_token(timm_model: Any) -> None:
    state = timm_model("deit_base_distilled_patch16_224").state_dict()
    assert guess_family(rename(state, recognise(state)), "x.bin") == ("deit", "by its distillation token")


def test_published_recipe__bare_transformers_deit_is_resized_as_by_its_processor(transformers_model: Any) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    expected = transformers.DeiTImageProcessor()
    state = transformers_model("DeiTForImageClassificationWithTeacher").state_dict()
    renamed = rename(state, recognise(state))
    recipe = published_recipe("deit", renamed, infer_settings(renamed), is_wrapped=False)
    assert recipe.squash and recipe.resize == (expected.size["height"], expected.crop_size["height"])
    assert recipe.interpolation == "bicubic" and expected.resample == 3
    # The published folders set this; timm has the same numbers for the same weights.
    assert (recipe.mean, recipe.std) == IMAGENET


def test_guess_family__transformers_publishes_only_v1(transformers_model: Any) -> None:
    state = transformers_model("BeitForImageClassification").state_dict()
    assert guess_family(rename(state, recognise(state)), "model.safetensors")[0] == "beit"


@pytest.mark.parametrize("side", [224, 384])
@pytest.mark.parametrize("family", ["beitv2", "beit"])
def test_published_recipe__unilm(unilm_state: dict[str, Tensor], family: Any, side: int) -> None:
    renamed = rename(unilm_state, recognise(unilm_state))
    settings = infer_settings(renamed).with_image_size(side, side)
    recipe = published_recipe(family, renamed, settings, is_wrapped=True)
    assert (recipe.mean, recipe.std) == (IMAGENET if family == "beitv2" else HALF)
    assert recipe.interpolation == "bicubic" and not recipe.squash
    resize = recipe.steps((side, side))[1]
    assert isinstance(resize, Resize) and resize.size == (256 if side == 224 else 384, -1)


@pytest.mark.parametrize(
    "architecture",
    [
        "beitv2_base_patch16_224.in1k_ft_in22k_in1k",
        "beitv2_large_patch16_224.in1k_ft_in1k",
        "beitv2_large_patch16_224.in1k_ft_in22k",
        "beit_base_patch16_224.in22k_ft_in22k_in1k",
        "beit_base_patch16_384.in22k_ft_in22k_in1k",
        "beit_large_patch16_512.in22k_ft_in22k_in1k",
        "vit_base_patch16_224.augreg_in21k_ft_in1k",
        "vit_base_patch16_384.augreg_in21k_ft_in1k",
        "deit_base_patch16_224.fb_in1k",
        "deit_base_patch16_384.fb_in1k",
        "deit_base_distilled_patch16_224.fb_in1k",
        "deit_base_distilled_patch16_384.fb_in1k",
    ],
)
def test_published_recipe__bare_timm_file_has_the_numbers_of_timms_own_table(architecture: str) -> None:
    timm = pytest.importorskip("timm", reason="the oracle is timm")
    expected = timm.models.get_pretrained_cfg(architecture)
    family: Any = architecture.split("_")[0]
    size = "large" if "large" in architecture else "base"
    side = expected.input_size[-1]
    settings = model_settings(
        "vit" if family in ("vit", "deit") else "beitv2",
        size,
        num_classes=expected.num_classes,
        image_size=(side, side),
    )
    from modelscope_beit.checkpoints.convert import from_native
    from modelscope_beit.checkpoints.targets import timm_layout

    tensors = from_native(build_classifier(settings, device="meta").state_dict(), timm_layout(settings))
    recipe = published_recipe(family, rename(tensors, recognise(tensors)), settings, is_wrapped=False)
    assert recipe.crop_pct == expected.crop_pct
    assert (recipe.mean, recipe.std) == (expected.mean, expected.std)
    assert recipe.interpolation == expected.interpolation


@pytest.mark.parametrize(
    "recipe",
    [
        InputRecipe(*IMAGENET, crop_pct=0.9),
        InputRecipe(*IMAGENET, crop_pct=0.95),
        InputRecipe(*HALF, crop_pct=1.0, interpolation="bilinear"),
        InputRecipe(*HALF, squash=True),
        InputRecipe(*IMAGENET, resize=(256, 224), squash=True),
    ],
)
def test_recipe_of__gives_back_the_same_steps(recipe: InputRecipe) -> None:
    steps = recipe.steps((224, 224))
    assert recipe_of(steps, (224, 224)).steps((224, 224)) == steps


@pytest.mark.parametrize(
    "steps",
    [
        [{"type": "Pad", "pad_to_square": True}, {"type": "Resize", "size": 224}],
        [{"type": "Resize", "size": (224, -1), "adaptive_side": "long"}, {"type": "CenterCrop", "crop_size": 224}],
        [{"type": "CenterCrop", "crop_size": 224, "efficientnet_style": True}],
    ],
)
def test_recipe_of__refuses_what_others_cannot_do(steps: list[dict[str, Any]]) -> None:
    rest = [{"type": "Normalize", "mean": [0, 0, 0], "std": [1, 1, 1]}, {"type": "ImageToTensor", "keys": ["img"]}]
    with pytest.raises(CheckpointError, match="can be written for others"):
        recipe_of(read_steps([*steps, *rest], "val"), (224, 224))


@pytest.mark.parametrize("target", [(384, 384), (192, 320)])
def test_scaled_steps__make_pictures_of_the_new_size(
    photographs: tuple[Image.Image, ...], target: tuple[int, int]
) -> None:
    steps = evaluation_steps(224, mean=(0, 0, 0), std=(1, 1, 1), crop_pct=0.875)
    scaled = scaled_steps(steps, (224, 224), target)
    assert EvaluationTransform(scaled)(photographs[0]).shape == (3, *target)
    crop = next(step for step in scaled if isinstance(step, CenterCrop))
    assert crop.crop_size in (target, target[0])


def test_scaled_steps__other_steps_stay() -> None:
    steps = evaluation_steps(224, mean=(1, 2, 3), std=(4, 5, 6))
    assert [s for s in scaled_steps(steps, (224, 224), (384, 384)) if isinstance(s, Normalize)] == [
        s for s in steps if isinstance(s, Normalize)
    ]
