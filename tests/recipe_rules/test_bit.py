"""BigTransfer's rule beside the paper's words and its authors' bit_hyperrule.py, whose table is copied by hand."""

from typing import Any

import pytest

from modelscope_beit.settings.augmentation_steps import RandomCrop, RandomFlip
from modelscope_beit.settings.losses import CrossEntropyLoss
from modelscope_beit.settings.mixing import BatchMixup, OneOfMixings
from modelscope_beit.settings.preprocessing import Normalize, Resize
from modelscope_beit.training.schedule import Schedule
from rule_facts import recipe, ruled

# Pictures -> last steps of warm-up, of the three rates after it, and of the run. The reference implementation has
# 200, 300 and 400 for the smallest; the paper says 30, 60 and 90 % of all.
SCHEDULES = {
    19_999: (100, 150, 300, 450, 500),
    20_000: (500, 3000, 6000, 9000, 10_000),
    499_999: (500, 3000, 6000, 9000, 10_000),
    500_000: (500, 6000, 12_000, 18_000, 20_000),
}


def rate(step: int, supports: tuple[int, ...], peak: float) -> float:
    """Returns the learning rate of a step, counted from 0, as the paper describes it."""
    if step < supports[0]:
        return peak * step / supports[0]
    return peak / 10 ** sum(step >= support for support in supports[1:4])


@pytest.mark.parametrize("num_train", SCHEDULES)
def test_choose_bit__rates_of_the_paper(num_train: int) -> None:
    found, supports = recipe("bit", num_train=num_train), SCHEDULES[num_train]
    assert (found.iterations, found.epochs, found.batch_size, found.accumulation) == (supports[-1], None, 512, 1)
    schedule = Schedule(
        found.schedule,
        [found.optimizer.lr],
        iterations_per_epoch=-(-num_train // 512),
        epochs=None,
        iterations=found.iterations,
        base_lr=found.optimizer.lr,
    )
    for step in {0, 1, *(support + shift for support in supports for shift in (-1, 0, 1))} - {supports[-1] + 1}:
        assert schedule.learning_rates(step)[0] == pytest.approx(rate(step, supports, 0.003), rel=1e-5, abs=1e-8)


def test_choose_bit__optimizer() -> None:
    found = recipe("bit")
    assert (found.optimizer.kind, found.optimizer.lr, found.optimizer.weight_decay) == ("SGD", 0.003, 0.0)
    assert found.optimizer.options == {"momentum": 0.9}
    assert (found.clip, found.ema, found.order, found.zero_head) == (None, None, "shuffled", True)
    assert found.loss == CrossEntropyLoss()


@pytest.mark.parametrize(("num_train", "alpha"), [(19_999, None), (20_000, 0.1), (2_000_000, 0.1)])
def test_choose_bit__mixup(num_train: int, alpha: float | None) -> None:
    mixing = recipe("bit", num_train=num_train).mixing
    assert mixing == (None if alpha is None else OneOfMixings((BatchMixup(alpha, 1.0),)))


@pytest.mark.parametrize(
    ("size", "resized", "crop"), [((32, 32), 160, 128), ((95, 96), 160, 128), ((96, 96), 512, 480), (None, 512, 480)]
)
def test_choose_bit__pictures_of_a_network_of_any_size(size: Any, resized: int, crop: int) -> None:
    content = ruled("bit", image_size=None, picture_size=size).configuration["preprocessor"]
    train = [step for step in content["train"] if step["type"] in ("Resize", "RandomCrop", "RandomFlip")]
    plain = {"backend": "pillow", "interpolation": "bilinear"}
    assert train == [
        {"type": "Resize", "size": [resized, resized], **plain},
        {"type": "RandomCrop", "size": crop},
        {"type": "RandomFlip", "flip_prob": 0.5, "direction": "horizontal"},
    ]
    assert [step for step in content["val"] if step["type"] == "Resize"] == [
        {"type": "Resize", "size": [crop, crop], **plain}
    ]
    assert [step["type"] for step in content["val"]][-3:] == ["Normalize", "ImageToTensor", "Collect"]


def test_choose_bit__a_network_of_one_size_keeps_it_and_says_so() -> None:
    found = ruled("bit", picture_size=(32, 32))
    resize, crop, flip, normalize = recipe("bit", picture_size=(32, 32)).training_steps[1:5]
    assert isinstance(resize, Resize) and resize.size == (40, 40), "32 x 160 / 128"
    assert isinstance(crop, RandomCrop) and crop.size == 32
    assert isinstance(flip, RandomFlip) and isinstance(normalize, Normalize)
    (reason,) = [reason for path, _, reason in found.rows if path == "preprocessor.train"]
    assert "the network takes 32x32 only" in reason and "160 / 128" in reason
    assert "preprocessor.val" not in [path for path, _, _ in found.rows]


def test_choose_bit__signs_are_not_mirrored() -> None:
    assert not [step for step in recipe("bit", has_signs=True).training_steps if isinstance(step, RandomFlip)]


@pytest.mark.parametrize(
    ("changes", "batch", "accumulation", "lr", "iterations"),
    [
        # Half of the batch in memory: two batches a step, twice as many iterations.
        ({"free_bytes": 320 * 1}, 256, 2, 0.003, 1000),
        ({"num_processes": 4}, 128, 1, 0.003, 500),
        # As in Keras's example: a smaller batch, a smaller rate, as many pictures.
        ({"given": {"train.dataloader.batch_size_per_gpu": 64, "train.optimizer_config.cumulative_iters": 1}}, 64, 1,
         0.003 / 8, 4000),
        # All of 100 pictures each step.
        ({"num_train": 100}, 100, 1, 0.003 * 100 / 512, 2560),
    ],
)  # fmt: skip
def test_choose_bit__rate_and_length_follow_the_batch(
    changes: dict[str, Any], batch: int, accumulation: int, lr: float, iterations: int
) -> None:
    found = recipe("bit", **{"num_train": 512 * 19, **changes})
    assert (found.batch_size, found.accumulation, found.iterations) == (batch, accumulation, iterations)
    assert found.optimizer.lr == pytest.approx(lr)


@pytest.mark.parametrize(
    ("given", "iterations"),
    [({"train.runner.max_iters": 50}, 50), ({"train.max_epochs": 5}, 5 * 20), ({"train.max_epochs": 0}, 500)],
)
def test_choose_bit__a_shorter_run_keeps_its_proportions(given: dict[str, Any], iterations: int) -> None:
    content = ruled("bit", given=given).configuration["train"]
    assert content["runner"] == {"type": "IterBasedRunner", "max_iters": iterations}
    lr_config = content["lr_config"]
    assert lr_config["step"] == [round(share * iterations) for share in (0.3, 0.6, 0.9)]
    assert lr_config["warmup_iters"] == iterations // 5


def test_choose_bit__curves_have_points_and_evaluations() -> None:
    found = recipe("bit")
    assert (found.log_interval, found.evaluation.interval, found.checkpoint.interval) == (10, 50, 50)
    assert not found.evaluation.by_epoch and not found.checkpoint.by_epoch


def test_choose_bit__several_classes_a_picture_keep_their_loss() -> None:
    found = ruled("bit", is_multi_label=True)
    assert not [path for path, _, _ in found.rows if path.startswith("model.mm_model")]
