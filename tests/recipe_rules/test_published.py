"""The published recipes beside the configurations in configs/, which other tests compare with their source."""

import json

import pytest

import helpers
from modelscope_beit.recipe_rules.published import BASE, BASE_UNLABELLED, LARGE, LARGE_UNLABELLED, nearest_published
from rule_facts import facts

FILES = {
    "beitv2-base-p16-224_ft21k_bs1024_cosine-30e_imagenet": BASE,
    "beitv2-base-p16-224_pt1k_bs1024_cosine-100e_imagenet": BASE_UNLABELLED,
    "beitv2-large-p16-224_ft21k_bs1024_cosine-20e_imagenet": LARGE,
    "beitv2-large-p16-224_pt1k_bs1024_cosine-50e_imagenet": LARGE_UNLABELLED,
}


@pytest.mark.parametrize("name", FILES)
def test_published__is_what_its_configuration_says(name: str) -> None:
    content, published = json.loads((helpers.ROOT / "configs" / f"{name}.json").read_text()), FILES[name]
    train = content["train"]
    assert published.epochs == train["max_epochs"]
    assert published.warm_up_epochs == train["lr_config"]["warmup_iters"]
    assert published.lr == train["optimizer"]["lr"]
    assert published.layer_decay == train["optimizer"]["paramwise_cfg"]["layer_decay_rate"]
    assert published.drop_path == content["model"]["mm_model"]["backbone"]["drop_path_rate"]
    assert published.mixes == ("train_cfg" in content["model"]["mm_model"])


@pytest.mark.parametrize(
    ("lineage", "depth", "published"),
    [
        ("self-supervised", 12, BASE_UNLABELLED),
        ("intermediate", 12, BASE),
        ("fine-tuned", 4, BASE),
        ("self-supervised", 24, LARGE_UNLABELLED),
        ("fine-tuned", 24, LARGE),
    ],
)
def test_nearest_published(lineage: str, depth: int, published: object) -> None:
    assert nearest_published(facts(lineage=lineage, depth=depth).start) is published
