from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_beit.checkpoints.convert import from_native, rename
from modelscope_beit.checkpoints.key_tables import LAYOUTS, Layout
from modelscope_beit.checkpoints.recognise import recognise, without_block_number
from modelscope_beit.errors import CheckpointError

LAYOUT_NAMES = sorted(LAYOUTS)
CLASSIFIER_LAYOUTS = sorted(name for name, layout in LAYOUTS.items() if not layout.pretraining)


def native_tensors(layout: Layout, depth: int) -> dict[str, torch.Tensor]:
    """Returns a different tensor of three rows for every row of the table and every block."""
    keys = [ours.replace("{}", str(number), 1) for ours in layout.names for number in range(depth)]
    return {key: torch.randn(3, 2) for key in dict.fromkeys(keys)}


@pytest.mark.parametrize("name", CLASSIFIER_LAYOUTS)
@settings(max_examples=15, deadline=None)
@given(depth=st.integers(min_value=1, max_value=40))
def test_table__there_and_back_is_bit_equal(name: str, depth: int) -> None:
    layout = LAYOUTS[name]
    tensors = native_tensors(layout, depth)
    back = rename(from_native(tensors, layout), layout)
    assert back.tensors.keys() == tensors.keys()
    assert all(torch.equal(back.tensors[key], tensors[key]) for key in tensors)
    assert not back.unexpected and not back.dropped


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_table__no_name_stands_twice_or_is_dropped(name: str) -> None:
    layout = LAYOUTS[name]
    theirs = [part for names in layout.names.values() for part in ([names] if isinstance(names, str) else names)]
    assert len(theirs) == len(set(theirs))
    if not layout.pretraining:
        assert not [key for key in theirs for pattern in layout.dropped if fnmatchcase(key, pattern)]


@pytest.mark.parametrize("name", CLASSIFIER_LAYOUTS)
@settings(max_examples=30, deadline=None)
@given(made_up=st.from_regex(r"(blocks\.[0-9]\.)?[a-z_]{3,12}\.(weight|bias|gamma_3)", fullmatch=True))
def test_table__made_up_key_is_refused_by_name(name: str, made_up: str) -> None:
    layout = LAYOUTS[name]
    known = {part for names in layout.names.values() for part in ([names] if isinstance(names, str) else names)}
    if without_block_number(made_up)[0] in known or any(fnmatchcase(made_up, pattern) for pattern in layout.dropped):
        return
    keys = [*from_native(native_tensors(layout, 1), layout), made_up]
    with pytest.raises(CheckpointError) as error:
        recognise(keys)
    assert made_up in str(error.value)


@pytest.mark.parametrize("name", sorted(name for name, layout in LAYOUTS.items() if layout.pretraining))
def test_from_native__refuses_a_masked_image_layout(name: str) -> None:
    with pytest.raises(CheckpointError, match="classifier cannot be written"):
        from_native({"backbone.cls_token": torch.zeros(1)}, LAYOUTS[name])


def test_from_native__names_what_has_no_place() -> None:
    with pytest.raises(CheckpointError, match=r"blocks\.7\.attn\.qkv\.bias"):
        from_native({"backbone.blocks.7.attn.qkv.bias": torch.zeros(6)}, LAYOUTS["unilm"])


@pytest.mark.parametrize(
    ("architecture", "arguments", "layout"),
    [
        ("beitv2_base_patch16_224", {}, "unilm"),
        ("beit_base_patch16_224", {"use_abs_pos_emb": True}, "unilm"),
        ("vit_base_patch16_224", {}, "timm-vit"),
        ("vit_base_patch16_224", {"init_values": 0.1, "global_pool": "avg"}, "timm-vit"),
        ("deit_base_patch16_224", {}, "timm-vit"),
        ("deit_base_distilled_patch16_224", {}, "timm-vit"),
    ],
)
def test_table__has_exactly_the_keys_of_timm(
    timm_model: Any, architecture: str, arguments: dict[str, Any], layout: str
) -> None:
    renamed = rename(timm_model(architecture, **arguments).state_dict(), LAYOUTS[layout])
    assert not renamed.unexpected and not renamed.dropped


@pytest.mark.parametrize(
    ("name", "configuration", "layout"),
    [
        ("BeitForImageClassification", {}, "transformers-beit-memory"),
        ("BeitModel", {}, "transformers-beit-bare-memory"),
        ("BeitForImageClassification", {"use_mean_pooling": False}, "transformers-beit-memory"),
        ("ViTForImageClassification", {}, "transformers-vit-memory"),
        ("DeiTForImageClassificationWithTeacher", {}, "transformers-deit-memory"),
        ("DeiTForImageClassification", {}, "transformers-deit-one-classifier-memory"),
    ],
)
def test_table__has_exactly_the_keys_of_transformers_in_memory(
    transformers_model: Any, name: str, configuration: dict[str, Any], layout: str
) -> None:
    renamed = rename(transformers_model(name, **configuration).state_dict(), LAYOUTS[layout])
    assert not renamed.unexpected and not renamed.dropped
