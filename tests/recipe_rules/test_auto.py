"""The rule "auto": the published recipe at ImageNet's size, and in which direction smaller data move it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import helpers
from modelscope_beit.settings.augmentation_steps import RandomErasing, RandomFlip, RandomResizedCrop
from modelscope_beit.settings.policies import RandAugment
from modelscope_beit.settings.recipe import read_recipe
from rule_facts import recipe, ruled

IMAGENET = {"num_train": 1_281_167, "smallest": 732, "largest": 1300, "free_bytes": 12_500}
UNLABELLED = {"lineage": "self-supervised"}


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("beitv2-base-p16-224_ft21k_bs1024_cosine-30e_imagenet", {"lineage": "intermediate"}),
        ("beitv2-base-p16-224_pt1k_bs1024_cosine-100e_imagenet", UNLABELLED),
        ("beitv2-large-p16-224_ft21k_bs1024_cosine-20e_imagenet", {"lineage": "intermediate", "depth": 24}),
        ("beitv2-large-p16-224_pt1k_bs1024_cosine-50e_imagenet", UNLABELLED | {"depth": 24}),
    ],
)
def test_choose_auto__at_imagenets_size_it_is_the_published_recipe(name: str, start: dict[str, Any]) -> None:
    content = json.loads((helpers.ROOT / "configs" / f"{name}.json").read_text())
    _, published = read_recipe(content, where=name)
    found = recipe("auto", **IMAGENET, **start, val_steps=tuple(content["preprocessor"]["val"]))
    assert found.batch_size * found.accumulation == published.batch_size * 8 * published.accumulation == 1024
    for field in ("epochs", "optimizer", "loss", "clip", "ema", "order"):
        assert getattr(found, field) == getattr(published, field), field
    assert found.schedule.warm_up == published.schedule.warm_up
    assert found.schedule.policy.target.ratio == pytest.approx(published.schedule.policy.target.ratio, rel=1e-6)
    assert (found.mixing is None) == (published.mixing is None)
    kinds = [type(step).__name__ for step in found.training_steps]
    assert kinds == [type(step).__name__ for step in published.training_steps]
    ours, theirs = (next(s for s in r.training_steps if isinstance(s, RandomErasing)) for r in (found, published))
    assert (ours.fill_color, ours.fill_std, ours.erase_prob) == (theirs.fill_color, theirs.fill_std, theirs.erase_prob)


def test_choose_auto__drop_path_is_published_for_base_and_large_only() -> None:
    assert ruled("auto").configuration["model"]["mm_model"]["backbone"]["drop_path_rate"] == 0.1
    assert "drop_path_rate" not in "".join(path for path, _, _ in ruled("auto", width=384).rows)


@pytest.mark.parametrize(
    ("num_train", "batch", "epochs"),
    [(10, 10, 500), (100, 32, 125), (1437, 32, 12), (5000, 64, 10), (19_999, 256, 10), (20_000, 256, 20)],
)
def test_choose_auto__short_for_small_data_but_never_too_few_steps(num_train: int, batch: int, epochs: int) -> None:
    found = recipe("auto", num_train=num_train)
    assert (found.batch_size, found.epochs) == (batch, epochs)


@given(num_train=st.integers(1, 3_000_000), lineage=st.sampled_from(["self-supervised", "fine-tuned"]))
def test_choose_auto__whatever_the_size(num_train: int, lineage: str) -> None:
    found = recipe("auto", num_train=num_train, lineage=lineage, free_bytes=12_500)
    steps = found.epochs * -(-num_train // (found.batch_size * found.accumulation))
    assert steps >= 500
    assert 1e-6 < found.optimizer.lr <= 5e-4
    assert 1 <= found.batch_size * found.accumulation <= 1024
    evaluations = found.epochs // found.evaluation.interval
    assert 1 <= evaluations <= 30
    assert found.schedule.warm_up is not None and found.schedule.warm_up.length < found.epochs


def test_choose_auto__rate_rises_where_the_network_is_narrow() -> None:
    base, narrow = recipe("auto"), recipe("auto", width=192)
    assert base.optimizer.lr == pytest.approx(1e-4), "the lowest, since 5e-5 x 128 / 1024 is less"
    assert narrow.optimizer.lr == pytest.approx(4e-4)
    assert recipe("auto", width=1024).optimizer.lr == base.optimizer.lr


def test_choose_auto__augmentation_follows_data() -> None:
    small, large = (recipe("auto", num_train=number).training_steps for number in (19_999, 20_000))
    assert not [step for step in small if isinstance(step, RandAugment | RandomErasing)]
    assert [type(step) for step in large if isinstance(step, RandAugment | RandomErasing)]
    crop = next(step for step in recipe("auto", picture_size=(28, 28)).training_steps if step.changes_pixels)
    assert isinstance(crop, RandomResizedCrop) and (crop.scale, crop.size) == ((0.5, 1.0), 32)
    assert not [step for step in recipe("auto", has_signs=True).training_steps if isinstance(step, RandomFlip)]


def test_choose_auto__mixing_only_without_labels_and_with_enough_pictures() -> None:
    assert recipe("auto", num_train=20_000, **UNLABELLED).mixing is not None
    assert recipe("auto", num_train=19_999, **UNLABELLED).mixing is None
    assert recipe("auto", num_train=20_000).mixing is None


@pytest.mark.parametrize(("largest", "order", "best"), [(499, "shuffled", "auto"), (500, "class_balanced", "f1_score")])
def test_choose_auto__balances_classes(largest: int, order: str, best: str) -> None:
    found = recipe("auto", smallest=100, largest=largest)
    assert (found.order, found.evaluation.save_best) == (order, best)


def test_choose_auto__what_the_user_sets_is_reckoned_with() -> None:
    found = recipe("auto", given={"train.max_epochs": 3, "train.dataloader.batch_size_per_gpu": 8})
    assert (found.epochs, found.batch_size, found.accumulation) == (3, 8, 16), "128 pictures a step"
    assert found.evaluation.interval == 1


@pytest.mark.parametrize(("iterations", "warm_up", "interval"), [(1, 0, 1), (4, 0, 1), (300, 30, 10)])
def test_choose_auto__iterations_that_the_user_sets_are_reckoned_with(
    iterations: int, warm_up: int, interval: int
) -> None:
    found = recipe("auto", given={"train.runner.type": "IterBasedRunner", "train.runner.max_iters": iterations})
    assert (found.iterations, found.epochs) == (iterations, None)
    assert found.schedule.warm_up is None or found.schedule.warm_up.length == warm_up
    assert found.evaluation.interval == found.checkpoint.interval == interval


def test_choose_auto__several_classes_a_picture_keep_their_loss() -> None:
    found = ruled("auto", is_multi_label=True, largest=10_000)
    assert [path for path, _, _ in found.rows if path.startswith("model.mm_model")] == [
        "model.mm_model.backbone.drop_path_rate"
    ]
    assert found.configuration["train"]["sampler"] is None
