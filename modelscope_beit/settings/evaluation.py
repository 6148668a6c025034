"""`train.evaluation` and `evaluation`: what is measured, how often, and which result is the best one.

Standard library only. Source: mmcv 1.7.2, runner/hooks/evaluation.py; mmcls 0.25.0, datasets/{base_dataset,
multi_label}.py; ModelScope's trainers/cv/image_classifition_trainer.py.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import Section, shown

METRICS = ("accuracy", "support", "precision", "recall", "f1_score")
MULTI_LABEL_METRICS = ("mAP", "CP", "CR", "CF1", "OP", "OR", "OF1")
RULES = ("greater", "less")
AUTO = "auto"
_AVERAGE_MODES = ("macro", "none")
# What says where and how the stock trainer gathers results, which is settled here, or is read elsewhere.
_HARMLESS = ("dataloader", "gpu_collect", "tmpdir", "broadcast_bn_buffer", "file_client_args", "by_epoch")


@dataclass(frozen=True)
class MetricOptions:
    """mmcls's metric_options.

    topk: several numbers give keys such as accuracy_top-5, one number gives the key accuracy.
    thresholds: predictions with a score up to the threshold do not count; several give keys such as
        precision_thr_0.50. None: 0.
    average_mode: "macro" is one number, the mean over classes; "none" one number per class.
    threshold, k: for multi-label data; classes with at least this score, or else the k best, are predicted. None
        and None: a score of 0.5.
    """

    topk: int | tuple[int, ...] = (1, 5)
    thresholds: float | tuple[float, ...] | None = None
    average_mode: str = "macro"
    threshold: float | None = None
    k: int | None = None


@dataclass(frozen=True)
class EvaluationSettings:
    """When to evaluate, what to measure, which result is kept.

    interval, start: after every interval-th epoch (or iteration, unless by_epoch), the first time after `start`.
    save_best: the key of the result whose best weights are kept; "auto": its first key; None: none are kept.
    rule: "greater" or "less" is better; None: as the key's name suggests.
    metrics: empty for mmcls's default, which is accuracy, or mAP where pictures have several labels.
    """

    interval: int = 1
    start: int | None = None
    by_epoch: bool = True
    save_best: str | None = None
    rule: str | None = None
    metrics: tuple[str, ...] = ()
    options: MetricOptions = field(default_factory=MetricOptions)


def read_evaluation(section: Section, *, by_epoch: bool = True) -> EvaluationSettings:
    """Returns what a section `train.evaluation` or `evaluation` says; problems go to the section's problems.

    by_epoch: whether the runner counts epochs. As in the stock trainer, it decides, not the key of that name.
    """
    interval = section.integer("interval", 1)
    if interval < 1:
        section.wrong("interval", "at least 1 is expected")
    start = None if section.get("start") is None else section.integer("start", 0)
    if start is not None and start < 0:
        section.wrong("start", "at least 0 is expected")
    save_best = section.get("save_best")
    if save_best is not None and not isinstance(save_best, str):
        section.wrong("save_best", "null, 'auto' or a key of the result such as 'accuracy_top-1' is expected")
        save_best = None
    rule = section.get("rule")
    if rule is not None and rule not in RULES:
        section.wrong("rule", "null, 'greater' or 'less' is expected")
        rule = None
    settings = EvaluationSettings(
        interval=max(interval, 1),
        start=start,
        by_epoch=by_epoch,
        save_best=save_best,
        rule=None if rule is None else str(rule),
        metrics=_read_metrics(section),
        options=_read_options(section),
    )
    section.note_unknown_keys(_HARMLESS)
    return settings


def check_metrics(settings: EvaluationSettings, *, num_classes: int, is_multi_label: bool, where: str) -> None:
    """Raises SettingsError for metrics that the data have no use for, or a save_best that will not be measured.

    To be asked before the first step: the stock trainer stumbles over it after the first epoch.
    where: the key path of the settings.
    """
    keys = score_keys(settings, num_classes=num_classes, is_multi_label=is_multi_label)
    if settings.save_best == AUTO and not keys:
        raise SettingsError(f"{where}.save_best is 'auto', but nothing that is measured is a single number.")
    if settings.save_best not in (None, AUTO, *keys):
        raise SettingsError(
            f"{where}.save_best is {shown(settings.save_best)}, but with {num_classes} classes the result has the "
            f"numbers {', '.join(keys) or 'of single classes only'}; choose one of its keys or 'auto'."
        )


def score_keys(settings: EvaluationSettings, *, num_classes: int, is_multi_label: bool) -> tuple[str, ...]:
    """Returns the keys of the result whose values are single numbers, in their order; "auto" takes the first."""
    wanted = chosen_metrics(settings.metrics, is_multi_label=is_multi_label)
    if is_multi_label:
        return wanted
    options = settings.options
    keys: list[str] = []
    for metric in wanted:
        if metric == "accuracy":
            topk = clipped_topk(options.topk, num_classes)
            for key in ["accuracy"] if isinstance(topk, int) else [f"accuracy_top-{k}" for k in topk]:
                keys += threshold_keys(key, options.thresholds)
        elif options.average_mode == "macro":
            keys += ["support"] if metric == "support" else threshold_keys(metric, options.thresholds)
    return tuple(keys)


def chosen_metrics(metrics: Sequence[str], *, is_multi_label: bool) -> tuple[str, ...]:
    """Returns the metrics in the order in which mmcls reports them; its default where none are chosen.

    Raises SettingsError for metrics that do not fit the kind of labels.
    """
    allowed = MULTI_LABEL_METRICS if is_multi_label else METRICS
    if unfit := [metric for metric in metrics if metric not in allowed]:
        raise SettingsError(
            f"Data with {'several labels' if is_multi_label else 'one label'} per picture cannot be measured by "
            f"{', '.join(unfit)}; set train.evaluation.metric and evaluation.metrics to some of {', '.join(allowed)}."
        )
    return tuple(metric for metric in allowed if metric in metrics) or allowed[:1]


def clipped_topk(topk: int | tuple[int, ...], num_classes: int) -> int | tuple[int, ...]:
    """Returns topk without what is more than there are classes; at least the best one remains."""
    if isinstance(topk, int):
        return min(topk, num_classes)
    return tuple(k for k in topk if k <= num_classes) or (1,)


def threshold_keys(key: str, thresholds: float | tuple[float, ...] | None) -> list[str]:
    """Returns the key of a result, or one key for each of several thresholds."""
    return [f"{key}_thr_{threshold:.2f}" for threshold in thresholds] if isinstance(thresholds, tuple) else [key]


def is_due(settings: EvaluationSettings, done: int) -> bool:
    """Tells whether to evaluate after `done` epochs (or iterations, unless by_epoch)."""
    start = settings.start or 0
    return done >= start and (done - start) % settings.interval == 0


def is_due_before_training(settings: EvaluationSettings, done: int) -> bool:
    """Tells whether to evaluate before training goes on; done: epochs (iterations) of the run that is resumed, or 0.

    Only with `start`, and at the times at which mmcv does it: when it would be due after the next epoch.
    """
    return settings.start is not None and done >= settings.start and is_due(settings, done + 1)


def is_better(rule: str | None, key: str, new: float, best: float | None) -> bool:
    """Tells whether a new result beats the best so far, None if there is none. 0.0 is a result; NaN never wins.

    rule: "greater" or "less" is better; None: less for keys with "loss" in them, greater for all others. mmcv's
    guess is the same where it makes one; it makes none for recall and F1.
    """
    if math.isnan(new):
        return False
    if best is None or math.isnan(best):
        return True
    is_less_better = rule == "less" or (rule is None and "loss" in key)
    return new < best if is_less_better else new > best


def _read_metrics(section: Section) -> tuple[str, ...]:
    """Reads `metric`, as train.evaluation has it, or `metrics`, as evaluation has it: one name or a list."""
    name = "metric" if section.get("metrics") is None else "metrics"
    if section.get("metric") is not None and name == "metrics":
        section.wrong("metric", "metrics is there too; remove one of the two")
    value = section.get(name)
    names = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list | tuple):
        section.wrong(name, "one metric or a list of metrics is expected")
        return ()
    known = METRICS + MULTI_LABEL_METRICS
    in_small_letters = {metric.lower(): metric for metric in known}
    for metric in names:
        if metric not in known:
            nearest = difflib.get_close_matches(str(metric).lower(), in_small_letters, n=1, cutoff=0.4)
            hint = f"did you mean {in_small_letters[nearest[0]]}?" if nearest else f"known metrics: {', '.join(known)}"
            section.wrong(name, f"nobody knows the metric {shown(metric)}; {hint}")
    return tuple(metric for metric in names if metric in known)


def _read_options(section: Section) -> MetricOptions:
    if section.get("metric_options") is None:
        return MetricOptions()
    options = section.section("metric_options")
    if options is None:
        return MetricOptions()
    default = MetricOptions()
    average_mode = options.get("average_mode", default.average_mode)
    if average_mode not in _AVERAGE_MODES:
        options.wrong("average_mode", "'macro' or 'none' is expected")
        average_mode = default.average_mode
    k = None if options.get("k") is None else options.integer("k", 1)
    if k is not None and k < 1:
        options.wrong("k", "at least 1 is expected")
    read = MetricOptions(
        topk=_read_topk(options),
        thresholds=_read_thresholds(options),
        average_mode=str(average_mode),
        threshold=None if options.get("thr") is None else options.number("thr", 0.5),
        k=k,
    )
    options.note_unknown_keys()
    return read


def _read_topk(options: Section) -> int | tuple[int, ...]:
    value = options.get("topk", MetricOptions.topk)
    if isinstance(value, int) and _are_counts([value]):
        return value
    if isinstance(value, list | tuple) and value and _are_counts(value):
        return tuple(value)
    options.wrong("topk", "a whole number from 1 up, or a list of them such as [1, 5], is expected")
    return MetricOptions.topk


def _read_thresholds(options: Section) -> float | tuple[float, ...] | None:
    value = options.get("thrs")
    if value is None:
        return None
    if isinstance(value, int | float) and _are_numbers([value]):
        return float(value)
    if isinstance(value, list | tuple) and value and _are_numbers(value):
        return tuple(float(number) for number in value)
    options.wrong("thrs", "null, a number from 0 to 1 or a list of such numbers is expected")
    return None


def _are_counts(values: Sequence[object]) -> bool:
    return all(type(value) is int and value >= 1 for value in values)


def _are_numbers(values: Sequence[object]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
