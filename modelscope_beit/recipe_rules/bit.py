"""BigTransfer's transfer rule, BiT-HyperRule: size of data and pictures decide everything.

Source: BiT (arXiv 1912.11370), section 3.3, and its bit_hyperrule.py and bit_pytorch/train.py. With fewer than 20,000
pictures the paper's text lowers the rate after 30, 60 and 90 % of 500 steps, as here; the code after 40, 60 and 80 %.
"""

from dataclasses import dataclass

from modelscope_beit.recipe_rules.batches import Division, divide, division_choices, pictures_that_fit
from modelscope_beit.recipe_rules.facts import GIVEN, Choice, Facts, StartFacts
from modelscope_beit.recipe_rules.pictures import (
    are_small,
    around,
    evaluation_around,
    flip_steps,
    resampling,
)

_BATCH = 512
_RATE = 0.003
_DECAYS = (0.3, 0.6, 0.9)
_SMALL, _LARGE = 20_000, 500_000
# Side that pictures are resized to, and side of the crop, in pixels.
_SIDES = {True: (160, 128), False: (512, 480)}
_PLAIN: dict[str, object] = {"backend": "pillow", "interpolation": "bilinear"}
_EVALUATIONS, _LINES = 10, 50


@dataclass(frozen=True)
class _Schedule:
    """steps of 512 pictures, the first warm_up_steps of which warm up. reason: why so many."""

    steps: int
    warm_up_steps: int
    reason: str


def choose_bit(facts: Facts) -> list[Choice]:
    """Returns the recipe that BiT-HyperRule gives for these data."""
    schedule = _schedule(facts.data.num_train)
    size = None if facts.start.image_size is not None else (_crop(facts), _crop(facts))
    division = divide(_BATCH, facts, size)
    return [
        *division_choices(division, _batch_reason(division), facts.device, pictures_that_fit(facts.device, size)),
        *_length_choices(schedule, division, facts),
        *_optimizer_choices(division),
        *_picture_choices(facts),
        *_mixing_choices(facts),
        Choice("train.head_init", "zero", "the head starts from zeros, so that the backbone is not disturbed at first"),
        Choice("train.precision", "auto", f"{facts.device.precision} on {facts.device.name}"),
    ]


def _crop(facts: Facts) -> int:
    return _SIDES[are_small(facts.data.picture_size)][1]


def _schedule(num_train: int) -> _Schedule:
    if num_train < _SMALL:
        return _Schedule(500, 100, f"500 steps: {num_train:,} pictures are fewer than {_SMALL:,}")
    if num_train < _LARGE:
        return _Schedule(10_000, 500, f"10,000 steps: {num_train:,} pictures are fewer than {_LARGE:,}")
    return _Schedule(20_000, 500, f"20,000 steps: {num_train:,} pictures are {_LARGE:,} or more")


def _batch_reason(division: Division) -> str:
    if division.num_train < _BATCH:
        return f"all of fewer than {_BATCH} pictures a step"
    return f"BigTransfer's {_BATCH} pictures a step"


def _length_choices(schedule: _Schedule, division: Division, facts: Facts) -> list[Choice]:
    given = facts.given_count("train.runner.max_iters")
    epochs = facts.given_count("train.max_epochs")
    if given is not None:
        iterations, reason = given, GIVEN
    elif epochs is not None:
        iterations, reason = epochs * division.iterations_per_epoch, f"{epochs} epochs, as you set"
    else:
        steps = round(schedule.steps * _BATCH / division.per_step)
        iterations, reason = division.iterations(steps), _in_pictures(schedule, division, steps)
    warm_up = max(1, round(iterations * schedule.warm_up_steps / schedule.steps))
    share = f"{schedule.warm_up_steps / schedule.steps:.1%} of the run"
    interval = -(-iterations // _EVALUATIONS)
    decays = [max(1, round(share * iterations)) for share in _DECAYS]
    return [
        Choice("train.runner", {"type": "IterBasedRunner", "max_iters": iterations}, reason),
        Choice(
            "train.lr_config",
            {
                "policy": "step",
                "by_epoch": False,
                "step": decays,
                "gamma": 0.1,
                "warmup": "linear",
                "warmup_iters": warm_up,
                # mmcv's warm-up cannot begin at 0.
                "warmup_ratio": 1e-6,
                "warmup_by_epoch": False,
            },
            f"a tenth after 30, 60 and 90 % of the run; warm-up over {share}",
        ),
        Choice(
            "train.evaluation",
            {"interval": interval, "save_best": "auto"},
            f"{_EVALUATIONS} evaluations; the best weights are kept",
        ),
        Choice(
            "train.log_config.interval", -(-iterations // _LINES), f"{_LINES} lines of the log, points of the curves"
        ),
        Choice(
            "train.checkpoint_config",
            {"interval": interval, "by_epoch": False, "max_keep_ckpts": 2},
            "to go on from after a crash",
        ),
    ]


def _in_pictures(schedule: _Schedule, division: Division, steps: int) -> str:
    if steps == schedule.steps:
        return schedule.reason
    return f"{schedule.reason}; as many pictures as in these make {steps:,} of {division.per_step}"


def _optimizer_choices(division: Division) -> list[Choice]:
    return [
        Choice(
            "train.optimizer",
            {"type": "SGD", "momentum": 0.9, "weight_decay": 0.0},
            "BigTransfer's optimizer; decay towards zero would undo what was transferred",
        ),
        Choice(
            "train.optimizer.lr",
            _RATE * division.per_step / _BATCH,
            f"{_RATE} x {division.per_step} / {_BATCH} pictures a step",
        ),
        Choice("train.optimizer_config.grad_clip", None, "BigTransfer does not clip"),
        Choice("train.custom_hooks", None, "BigTransfer averages no weights"),
        Choice("train.sampler", None, "BigTransfer shuffles, whatever the balance of the classes"),
    ]


def _picture_choices(facts: Facts) -> list[Choice]:
    small = are_small(facts.data.picture_size)
    resized, crop = _SIDES[small]
    seen = "pictures of unknown size" if facts.data.picture_size is None else _size(facts.data.picture_size)
    rule = f"{seen} are {'below' if small else 'not below'} 96x96, so the rule is {resized} / {crop}"
    flips, flip_reason = flip_steps(facts.data.has_signs)
    fixed = facts.start.image_size
    if fixed is None:
        steps = [_resize(resized, resized, _PLAIN), {"type": "RandomCrop", "size": crop}, *flips]
        val = evaluation_around([_resize(crop, crop, _PLAIN)], facts.start.val_steps)
        return [
            Choice("preprocessor.train", around(steps, facts.start.val_steps), f"{rule}; {flip_reason}"),
            Choice("preprocessor.val", val, f"resized to the size of the crop, {crop}x{crop}"),
        ]
    steps = _steps_for_fixed_size(facts.start, fixed, resized / crop, flips)
    reason = f"{rule}; the network takes {_size(fixed)} only, so the same ratio is used at that size; {flip_reason}"
    return [Choice("preprocessor.train", around(steps, facts.start.val_steps), reason)]


def _steps_for_fixed_size(
    start: StartFacts, size: tuple[int, int], ratio: float, flips: list[dict[str, object]]
) -> list[dict[str, object]]:
    height, width = size
    crop = height if height == width else [height, width]
    resize = _resize(round(height * ratio), round(width * ratio), resampling(start.val_steps))
    return [resize, {"type": "RandomCrop", "size": crop}, *flips]


def _resize(height: int, width: int, resampling: dict[str, object]) -> dict[str, object]:
    return {"type": "Resize", "size": [height, width], **resampling}


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _mixing_choices(facts: Facts) -> list[Choice]:
    data = facts.data
    if data.is_multi_label:
        return []
    mixes = data.num_train >= _SMALL
    loss: dict[str, object] = {"type": "CrossEntropyLoss"}
    if mixes and facts.start.width is None:
        # mmcls's own needs to be told that labels are shares; ours sees it.
        loss["use_soft"] = True
    augments = {"augments": [{"type": "BatchMixup", "alpha": 0.1, "prob": 1.0}]} if mixes else None
    at_least = f"{_SMALL:,} pictures or more" if mixes else f"fewer than {_SMALL:,} pictures"
    return [
        Choice("model.mm_model.head.loss", loss, "plain cross entropy"),
        Choice("model.mm_model.train_cfg", augments, f"mixup {'0.1' if mixes else 'off'}: {at_least}"),
    ]
