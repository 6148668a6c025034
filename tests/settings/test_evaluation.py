from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.evaluation import (
    EvaluationSettings,
    MetricOptions,
    check_metrics,
    chosen_metrics,
    clipped_topk,
    is_better,
    is_due,
    is_due_before_training,
    read_evaluation,
    score_keys,
)
from modelscope_beit.settings.problems import Problems, Section

NAN = float("nan")


def read(mapping, **keywords):
    problems = Problems()
    return read_evaluation(Section(mapping, "train.evaluation", problems), **keywords), problems


def eval_hook(**keywords):
    """Returns mmcv's own hook."""
    hooks = pytest.importorskip("mmcv.runner", reason="the oracle comes with the extra openmmlab")
    from torch.utils.data import DataLoader

    return hooks.EvalHook(DataLoader([0]), test_fn=lambda *_: None, **keywords)


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({}, EvaluationSettings()),
        (
            # As a hub folder has it, after the model card's script has set its topk.
            {"interval": 1, "metric": "accuracy", "save_best": "auto", "metric_options": {"topk": (1,)}},
            EvaluationSettings(save_best="auto", metrics=("accuracy",), options=MetricOptions(topk=(1,))),
        ),
        (
            {"dataloader": {"batch_size_per_gpu": 32}, "metrics": ["precision", "accuracy"]},
            EvaluationSettings(metrics=("precision", "accuracy")),
        ),
        (
            # A tuple has become a list in configuration.json.
            {"metric_options": {"topk": [1, 3], "thrs": [0, 0.5], "average_mode": "none"}, "start": 3, "rule": "less"},
            EvaluationSettings(
                start=3,
                rule="less",
                options=MetricOptions(topk=(1, 3), thresholds=(0.0, 0.5), average_mode="none"),
            ),
        ),
        (
            {"metric": ["mAP", "CF1"], "metric_options": {"thr": 0.3, "topk": 5}},
            EvaluationSettings(metrics=("mAP", "CF1"), options=MetricOptions(topk=5, threshold=0.3)),
        ),
        ({"metric_options": {"k": 3, "thrs": 0.2}}, EvaluationSettings(options=MetricOptions(k=3, thresholds=0.2))),
        ({"metric_options": None, "save_best": None, "gpu_collect": True, "by_epoch": True}, EvaluationSettings()),
    ],
)
def test_read_evaluation__mm_words(mapping, expected):
    settings, problems = read(mapping)
    assert settings == expected
    assert problems == Problems()


def test_read_evaluation__the_runner_says_what_is_counted():
    settings, _ = read({"by_epoch": True, "interval": 1000}, by_epoch=False)
    assert not settings.by_epoch


@pytest.mark.parametrize(
    ("mapping", "culprit", "hint"),
    [
        ({"interval": 0}, "interval is 0", "at least 1"),
        ({"start": -1}, "start is -1", "at least 0"),
        ({"save_best": True}, "save_best is True", "accuracy_top-1"),
        ({"rule": "bigger"}, "rule is 'bigger'", "'greater' or 'less'"),
        ({"metric": "acuracy"}, "metric is 'acuracy'", "did you mean accuracy?"),
        ({"metrics": ["accuracy", "f1-score"]}, "'f1-score'", "did you mean f1_score?"),
        ({"metrics": "map"}, "'map'", "did you mean mAP?"),
        ({"metric": "accuracy", "metrics": ["recall"]}, "metric is 'accuracy'", "remove one"),
        ({"metric": 3}, "metric is 3", "a list of metrics"),
        ({"metric_options": [1, 5]}, "metric_options is [1, 5]", "a mapping"),
        ({"metric_options": {"topk": [1, 0]}}, "metric_options.topk is [1, 0]", "from 1 up"),
        ({"metric_options": {"topk": "1,5"}}, "topk is '1,5'", "[1, 5]"),
        ({"metric_options": {"topk": []}}, "topk is []", "[1, 5]"),
        ({"metric_options": {"thrs": ["0.5"]}}, "thrs is ['0.5']", "from 0 to 1"),
        ({"metric_options": {"average_mode": "micro"}}, "average_mode is 'micro'", "'macro' or 'none'"),
        ({"metric_options": {"k": 0}}, "k is 0", "at least 1"),
    ],
)
def test_read_evaluation__says_what_cannot_be_used(mapping, culprit, hint):
    _, problems = read(mapping)
    (sentence,) = problems.wrong
    assert sentence.startswith("train.evaluation.") and culprit in sentence and hint in sentence


def test_read_evaluation__unknown_keys_get_a_hint():
    _, problems = read({"intervall": 2, "metric_options": {"top_k": 3}})
    assert problems.unknown == {
        "train.evaluation.intervall": "did you mean interval?",
        "train.evaluation.metric_options.top_k": "did you mean topk?",
    }


@pytest.mark.openmmlab
@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("start", [None, 0, 1, 3, 8])
@pytest.mark.parametrize("interval", [1, 2, 3, 5])
def test_is_due__when_mmcv_evaluates(interval, start, by_epoch):
    hook = eval_hook(interval=interval, start=start, by_epoch=by_epoch)
    settings = EvaluationSettings(interval=interval, start=start, by_epoch=by_epoch)
    moments = [SimpleNamespace(epoch=done - 1, iter=done - 1) for done in range(1, 20)]
    theirs = [hook.every_n_epochs(one, 1) and hook._should_evaluate(one) for one in moments]
    assert [is_due(settings, done) for done in range(1, 20)] == theirs


@pytest.mark.openmmlab
@pytest.mark.parametrize("resumed_at", [0, 1, 4])
@pytest.mark.parametrize("start", [None, 0, 1, 3])
@pytest.mark.parametrize("interval", [1, 2])
def test_is_due_before_training__when_mmcv_evaluates(interval, start, resumed_at, monkeypatch):
    evaluated = []
    hook = eval_hook(interval=interval, start=start)
    monkeypatch.setattr(hook, "_do_evaluate", evaluated.append)
    hook.before_train_epoch(SimpleNamespace(epoch=resumed_at))
    settings = EvaluationSettings(interval=interval, start=start)
    assert is_due_before_training(settings, resumed_at) == bool(evaluated)


@pytest.mark.parametrize(
    ("rule", "new", "best", "expected"),
    [
        ("greater", 1.0, None, True),
        ("greater", 0.0, None, True),  # mmcls keeps nothing then
        ("greater", 0.0, -1.0, True),
        ("greater", 2.0, 1.0, True),
        ("greater", 1.0, 1.0, False),
        ("less", 1.0, 2.0, True),
        ("less", 0.0, 1.0, True),
        ("less", 2.0, 2.0, False),
        ("greater", NAN, None, False),
        ("less", NAN, 3.0, False),
        ("greater", 0.0, NAN, True),
        (None, 2.0, 1.0, True),
    ],
)
def test_is_better__also_with_zero_and_nan(rule, new, best, expected):
    assert is_better(rule, "accuracy_top-1", new, best) is expected


@pytest.mark.openmmlab
@pytest.mark.parametrize(
    "key", ["accuracy", "accuracy_top-1", "accuracy_top-5_thr_0.50", "precision", "mAP", "loss", "val_loss"]
)
def test_is_better__guesses_the_rule_as_mmcv_does(key):
    compare = eval_hook(save_best=key).compare_func
    for new, best in [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0)]:
        assert is_better(None, key, new, best) == compare(new, best)


@pytest.mark.parametrize("key", ["recall", "f1_score", "support", "CF1", "OR"])
def test_is_better__more_is_better_where_mmcv_makes_no_guess(key):
    assert is_better(None, key, 2.0, 1.0) and not is_better(None, key, 1.0, 2.0)


@pytest.mark.parametrize(
    ("topk", "num_classes", "expected"),
    [
        ((1, 5), 1000, (1, 5)),
        ((1, 5), 5, (1, 5)),
        ((1, 5), 4, (1,)),
        ((5,), 2, (1,)),
        ((1, 3), 3, (1, 3)),
        (5, 3, 3),
        (1, 2, 1),
    ],
)
def test_clipped_topk__leaves_at_least_the_best(topk, num_classes, expected):
    assert clipped_topk(topk, num_classes) == expected


@given(st.lists(st.sampled_from(["f1_score", "accuracy", "recall", "support", "precision"]), unique=True))
def test_chosen_metrics__come_in_mmclss_order(metrics):
    order = ["accuracy", "support", "precision", "recall", "f1_score"]
    assert list(chosen_metrics(metrics, is_multi_label=False)) == sorted(metrics or ["accuracy"], key=order.index)


def test_chosen_metrics__default_depends_on_the_labels():
    assert chosen_metrics((), is_multi_label=False) == ("accuracy",)
    assert chosen_metrics((), is_multi_label=True) == ("mAP",)


def settings_for(save_best=None, metrics=(), **options):
    return EvaluationSettings(save_best=save_best, metrics=metrics, options=MetricOptions(**options))


@pytest.mark.parametrize(
    ("settings", "num_classes", "expected"),
    [
        (settings_for(), 10, ("accuracy_top-1", "accuracy_top-5")),
        (settings_for(), 3, ("accuracy_top-1",)),
        (settings_for(topk=1), 3, ("accuracy",)),
        (settings_for(metrics=("f1_score", "support")), 3, ("support", "f1_score")),
        (settings_for(metrics=("recall", "accuracy"), average_mode="none", topk=1), 3, ("accuracy",)),
        (settings_for(thresholds=(0.0, 0.25), topk=(1,)), 3, ("accuracy_top-1_thr_0.00", "accuracy_top-1_thr_0.25")),
        (settings_for(metrics=("support", "recall"), thresholds=(0.5,)), 3, ("support", "recall_thr_0.50")),
    ],
)
def test_score_keys__are_mmclss_keys_of_single_numbers(settings, num_classes, expected):
    assert score_keys(settings, num_classes=num_classes, is_multi_label=False) == expected


@pytest.mark.parametrize(
    ("settings", "is_multi_label", "culprit"),
    [
        (settings_for("accuracy_top-5"), False, "with 3 classes the result has the numbers accuracy_top-1;"),
        (settings_for("accuracy_top-1", topk=1), False, "has the numbers accuracy;"),
        (settings_for("precision"), False, "save_best is 'precision'"),
        (settings_for("auto", metrics=("recall",), average_mode="none"), False, "nothing that is measured is a single"),
        (settings_for("recall", metrics=("recall",), average_mode="none"), False, "of single classes only"),
        (settings_for(metrics=("mAP",)), False, "one label per picture cannot be measured by mAP"),
        (settings_for(metrics=("accuracy",)), True, "several labels per picture cannot be measured by accuracy"),
        (settings_for("accuracy_top-1"), True, "has the numbers mAP;"),
    ],
)
def test_check_metrics__finds_it_before_the_first_step(settings, is_multi_label, culprit):
    with pytest.raises(SettingsError, match=culprit):
        check_metrics(settings, num_classes=3, is_multi_label=is_multi_label, where="train.evaluation")


@pytest.mark.parametrize("save_best", [None, "auto", "accuracy_top-1"])
def test_check_metrics__passes_what_will_be_measured(save_best):
    check_metrics(settings_for(save_best), num_classes=3, is_multi_label=False, where="train.evaluation")
