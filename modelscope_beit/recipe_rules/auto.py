"""The rule "auto": BEiT v2's published fine-tuning, made to fit what the weights have seen, the data and the device.

At the size of ImageNet-1k it is the published recipe. What it makes of smaller data is ours, and every reason says so
much of it that it can be argued with.
"""

import math
from dataclasses import dataclass

from modelscope_beit.recipe_rules.batches import Division, divide, division_choices, pictures_that_fit
from modelscope_beit.recipe_rules.facts import GIVEN, Choice, Facts
from modelscope_beit.recipe_rules.pictures import are_small, around, flip_steps, normalisation, resampling
from modelscope_beit.recipe_rules.published import BATCH, WIDTH_OF_BASE, Published, nearest_published

_SMALL, _LARGE = 20_000, 500_000
_FEWEST_STEPS = 500
_FEWEST_EPOCHS = 10
_STEPS_AN_EPOCH, _SMALLEST_BATCH = 40, 32
# The hub's cards train small data at 5e-5 without layer decay; with it, the mean of all blocks is below half.
_LOWEST_RATE = {"self-supervised": 2e-4, "intermediate": 1e-4, "fine-tuned": 1e-4}
_LAST_RATE = 1e-6
# How many times as many pictures the largest class has as the smallest, from which on classes are balanced.
_UNBALANCED = 5.0
_MOST_EVALUATIONS = 30


@dataclass(frozen=True)
class _Length:
    """epochs, steps: of the whole run. is_published: as long as on ImageNet-1k.

    iterations: what the user has set in place of epochs; else None. reason: why it is as long as this.
    """

    epochs: int
    steps: int
    is_published: bool
    reason: str
    iterations: int | None = None

    @property
    def interval(self) -> int:
        """Epochs, or iterations where these are counted, between two evaluations."""
        return -(-(self.iterations or self.epochs) // _MOST_EVALUATIONS)

    def warm_up(self, published_epochs: int) -> tuple[dict[str, object], str]:
        """Returns the keys of lr_config for it, and the reason; never the whole run."""
        if self.iterations is not None:
            count, unit, told = round(self.iterations / 10), "iterations", "a tenth"
        elif self.is_published:
            count, unit, told = published_epochs, "epochs", "as published"
        else:
            count, unit, told = max(1, round(self.epochs / 10)), "epochs", "a tenth"
        count = min(count, max((self.iterations or self.epochs) - 1, 0))
        keys: dict[str, object] = {"warmup_iters": count, "warmup_by_epoch": unit == "epochs"}
        return keys, f"{count} {unit} of warm-up, {told}"


def choose_auto(facts: Facts) -> list[Choice]:
    """Returns the recipe for a transformer of ours."""
    published = nearest_published(facts.start)
    wanted = _wanted_batch(facts.data.num_train)
    division = divide(wanted, facts)
    length = _length(published, division, facts)
    batch_reason = f"about {_STEPS_AN_EPOCH} steps an epoch or more, {_SMALLEST_BATCH} to {BATCH} pictures each"
    return [
        *division_choices(division, batch_reason, facts.device, pictures_that_fit(facts.device)),
        *_length_choices(length),
        *_rate_choices(published, division, length, facts),
        *_regularisation_choices(published, facts),
        _picture_choice(facts),
        *_balance_choices(length, facts),
        Choice("train.head_init", None, "a head for other classes starts near zero, one that fits is kept"),
        Choice("train.precision", "auto", f"{facts.device.precision} on {facts.device.name}"),
    ]


def _wanted_batch(num_train: int) -> int:
    wanted = 2 ** int(math.log2(max(num_train / _STEPS_AN_EPOCH, 1)))
    return min(max(wanted, _SMALLEST_BATCH), BATCH)


def _length(published: Published, division: Division, facts: Facts) -> _Length:
    num_train = facts.data.num_train
    given = facts.given_count("train.max_epochs")
    per_epoch = division.steps_per_epoch
    if given is not None:
        return _Length(given, given * per_epoch, False, GIVEN)
    iterations = facts.given_count("train.runner.max_iters")
    if iterations is not None:
        epochs = -(-iterations // division.iterations_per_epoch)
        return _Length(epochs, epochs * per_epoch, False, GIVEN, iterations)
    if num_train >= _LARGE:
        reason = f"as published for {published.name}: {num_train:,} pictures are {_LARGE:,} or more"
        return _Length(published.epochs, published.epochs * per_epoch, True, reason)
    share, name = (1 / 3, "a third") if num_train < _SMALL else (2 / 3, "two thirds")
    limit = _SMALL if num_train < _SMALL else _LARGE
    epochs = max(_FEWEST_EPOCHS, round(published.epochs * share))
    reason = f"{name} of the {published.epochs} published: {num_train:,} pictures are fewer than {limit:,}"
    if epochs * per_epoch < _FEWEST_STEPS:
        epochs = -(-_FEWEST_STEPS // per_epoch)
        reason = f"{_FEWEST_STEPS} steps at least, {per_epoch} an epoch"
    return _Length(epochs, epochs * per_epoch, False, reason)


def _length_choices(length: _Length) -> list[Choice]:
    counted = [
        Choice("train.runner", None, "epochs are counted"),
        Choice("train.max_epochs", length.epochs, length.reason),
    ]
    if length.iterations is not None:
        runner = {"type": "IterBasedRunner", "max_iters": length.iterations}
        counted = [Choice("train.runner", runner, length.reason)]
    return [
        *counted,
        Choice(
            "train.checkpoint_config",
            {"interval": length.interval, "max_keep_ckpts": 3},
            "after each validation; the newest three are kept, and the best",
        ),
    ]


def _rate_choices(published: Published, division: Division, length: _Length, facts: Facts) -> list[Choice]:
    lr, reason = _rate(published, division, facts)
    warm_up, warm_up_reason = length.warm_up(published.warm_up_epochs)
    clip = None if length.is_published else {"max_norm": 5.0}
    return [
        Choice(
            "train.optimizer",
            {
                "type": "AdamW",
                "weight_decay": 0.05,
                "betas": [0.9, 0.999],
                "eps": 1e-8,
                "constructor": "LearningRateDecayOptimizerConstructor",
            },
            "as published",
        ),
        Choice("train.optimizer.lr", lr, reason),
        Choice(
            "train.optimizer.paramwise_cfg",
            {"layer_decay_rate": published.layer_decay},
            f"as published for {published.name}; {_lineage(facts)}",
        ),
        Choice(
            "train.lr_config",
            {
                "policy": "UnilmCosine",
                "min_lr_ratio": min(1.0, _LAST_RATE / lr),
                **warm_up,
            },
            f"a cosine to {_LAST_RATE:g}, as published; {warm_up_reason}",
        ),
        Choice(
            "train.optimizer_config.grad_clip",
            clip,
            "as published" if clip is None else "a short run cannot make up for one bad step",
        ),
        Choice("train.custom_hooks", None, "as published: no averaged weights"),
    ]


def _lineage(facts: Facts) -> str:
    return f"the weights are {facts.start.lineage}: {facts.start.lineage_reason}"


def _rate(published: Published, division: Division, facts: Facts) -> tuple[float, str]:
    scaled = published.lr * division.per_step / BATCH
    reason = f"{published.lr:g} as published x {division.per_step} / {BATCH} pictures a step"
    lowest = _LOWEST_RATE[facts.start.lineage]
    if scaled < lowest and facts.data.num_train < _LARGE:
        scaled, reason = lowest, f"at least {lowest:g} for a short run ({reason} would be {scaled:.2g})"
    width = facts.start.width or WIDTH_OF_BASE
    if width < WIDTH_OF_BASE:
        scaled *= WIDTH_OF_BASE / width
        reason += f"; x {WIDTH_OF_BASE} / {width}, since Adam's rates go with the inverse of the width"
    return scaled, reason


def _regularisation_choices(published: Published, facts: Facts) -> list[Choice]:
    data = facts.data
    choices = []
    if (facts.start.width or 0) >= WIDTH_OF_BASE:
        choices.append(
            Choice("model.mm_model.backbone.drop_path_rate", published.drop_path, f"as published for {published.name}")
        )
    if data.is_multi_label:
        return choices
    mixes = published.mixes and data.num_train >= _SMALL
    mixing = [
        {"type": kind, "alpha": alpha, "prob": 0.5} for kind, alpha in (("BatchMixup", 0.8), ("BatchCutMix", 1.0))
    ]
    if mixes:
        reason = "mixup and cutmix, as published"
    elif published.mixes:
        reason = f"no mixing: a run on fewer than {_SMALL:,} pictures is too short for it"
    else:
        reason = f"no mixing, as published for {published.name}"
    return [
        *choices,
        Choice(
            "model.mm_model.head.loss",
            {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": "original"},
            "label smoothing 0.1, as published",
        ),
        Choice("model.mm_model.train_cfg", {"augments": mixing} if mixes else None, reason),
    ]


def _picture_choice(facts: Facts) -> Choice:
    data, start = facts.data, facts.start
    assert start.image_size is not None, "networks of ours have a size"
    height, width = start.image_size
    crop: dict[str, object] = {"type": "RandomResizedCrop", "size": height if height == width else [height, width]}
    reasons = []
    if are_small(data.picture_size):
        crop["scale"] = [0.5, 1.0]
        reasons.append("crops keep half of a picture at least, because they are below 96x96")
    flips, flip_reason = flip_steps(data.has_signs)
    reasons.append(flip_reason)
    steps = [crop | resampling(start.val_steps), *flips]
    if data.num_train >= _SMALL:
        steps += _published_augmentation(start.val_steps)
        reasons.append("RandAugment and erasing, as published")
    else:
        reasons.append(f"neither RandAugment nor erasing for fewer than {_SMALL:,} pictures")
    return Choice("preprocessor.train", around(steps, start.val_steps), "; ".join(reasons))


def _published_augmentation(val_steps: tuple[dict[str, object], ...]) -> list[dict[str, object]]:
    mean, std = normalisation(val_steps)
    return [
        {
            "type": "RandAugment",
            "policies": "timm_increasing",
            "num_policies": 2,
            "total_level": 10,
            "magnitude_level": 9,
            "magnitude_std": 0.5,
            "hparams": {"pad_val": [round(value) for value in mean], "interpolation": "bicubic"},
        },
        {
            "type": "RandomErasing",
            "erase_prob": 0.25,
            "mode": "rand",
            "min_area_ratio": 0.02,
            "max_area_ratio": 1 / 3,
            "fill_color": mean,
            "fill_std": std,
        },
    ]


def _balance_choices(length: _Length, facts: Facts) -> list[Choice]:
    data = facts.data
    interval = length.interval
    ratio = data.largest / max(data.smallest, 1)
    told = f"classes have {data.smallest:,} to {data.largest:,} pictures"
    evaluation: dict[str, object] = {"interval": interval, "save_best": "auto"}
    if data.is_multi_label:
        reason = f"at most {_MOST_EVALUATIONS} evaluations; the best weights are kept"
        return [Choice("train.sampler", None, "pictures have several classes"), _evaluation(evaluation, reason)]
    if ratio < _UNBALANCED:
        reason = f"at most {_MOST_EVALUATIONS} evaluations; the best weights are those of the best accuracy"
        return [
            Choice("train.sampler", None, f"shuffled: {told}"),
            _evaluation(evaluation, reason),
        ]
    return [
        Choice("train.sampler", {"type": "ClassBalanced"}, f"{told}, so each class is drawn equally often"),
        _evaluation(
            evaluation | {"metric": ["accuracy", "f1_score"], "save_best": "f1_score"},
            "the best weights are those of the best mean F1 of the classes, which large classes do not rule",
        ),
    ]


def _evaluation(value: dict[str, object], reason: str) -> Choice:
    return Choice("train.evaluation", value, reason)
