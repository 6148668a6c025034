"""What weights have seen, by the names that they were published under and by their classes."""

import pytest

from modelscope_beit.recipe_rules.lineage import find_lineage

NAMES = [f"{number}" for number in range(1000)]
SELF, INTERMEDIATE, TUNED = "self-supervised", "intermediate", "fine-tuned"


@pytest.mark.parametrize(
    ("name", "lineage"),
    [
        # unilm's files
        ("beitv2_base_patch16_224_pt1k_300e", SELF),
        ("beitv2_large_patch16_224_pt1k", SELF),
        ("beitv2_base_patch16_224_pt1k_300e_ft1k", TUNED),
        ("beitv2_base_patch16_224_pt1k_ft1k", TUNED),
        ("beitv2_base_patch16_224_pt1k_ft21k", INTERMEDIATE),
        ("beitv2_large_patch16_224_pt1k_ft21kto1k", TUNED),
        ("beit_base_patch16_224_pt22k_ft22kto1k", TUNED),
        # the hub's, timm's and transformers'
        ("cv_beitv2-base_image-classification_patch16_224_pt1k_ft22k_in1k", TUNED),
        ("beitv2_base_patch16_224.in1k_ft_in1k", TUNED),
        ("beitv2_base_patch16_224.in1k_ft_in22k_in1k", TUNED),
        ("beitv2_base_patch16_224.in1k_ft_in22k", INTERMEDIATE),
        ("beit-base-patch16-224-pt22k", SELF),
        ("beit-base-patch16-224-pt22k-ft22k", INTERMEDIATE),
        # cards
        ("| Fine-tuned from | beitv2_base_patch16_224_pt1k.pth |", TUNED),
        ("| Source | beitv2_base_patch16_224_pt1k.pth: BEiT v2 (by its name) |", SELF),
    ],
)
def test_find_lineage__published_names(name: str, lineage: str) -> None:
    found, reason = find_lineage(37, None, ["pytorch_model", name])
    assert found == lineage
    assert reason.endswith(f"in {name!r}") or "..." in reason


def test_find_lineage__the_classes_of_21k_need_no_name() -> None:
    assert find_lineage(21841, None, ["pt1k"])[0] == INTERMEDIATE
    assert find_lineage(21842, None, [])[0] == INTERMEDIATE


def test_find_lineage__without_a_name() -> None:
    fresh = [f"class {number}" for number in range(7)]
    assert find_lineage(7, fresh, ["pytorch_model", "my_model"])[0] == SELF
    assert find_lineage(1000, NAMES, ["vit"]) == (TUNED, "its head has 1,000 classes, as many as ImageNet-1k")
    lineage, reason = find_lineage(10, NAMES[:10], ["model", "embedded"])
    assert lineage == TUNED and reason.startswith("nothing names its lineage")
