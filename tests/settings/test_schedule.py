"""lr_config and momentum_config: every spelling, every default, every sentence about a mistake."""

import pytest

from modelscope_beit.settings import rate_policies as policies
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.settings.rate_policies import Target, WarmUp
from modelscope_beit.settings.schedule import MomentumSettings, ScheduleSettings, read_momentum, read_schedule


def read(config, reader=read_schedule, path="train.lr_config"):
    problems = Problems()
    return reader(Section(config, path, problems)), problems


@pytest.mark.parametrize(
    ("config", "policy"),
    [
        ({"policy": "fixed"}, policies.Fixed()),
        ({"policy": "Fixed"}, policies.Fixed()),
        ({"policy": "step", "step": [30, 60]}, policies.Step((30, 60), 0.1)),
        ({"type": "StepLrUpdaterHook", "step": 30}, policies.Step(30, 0.1)),
        ({"policy": "CosineAnnealing", "min_lr": 0}, policies.CosineAnnealing(Target(value=0.0))),
        ({"policy": "cosineannealing", "min_lr_ratio": 0.1}, policies.CosineAnnealing(Target(ratio=0.1))),
        ({"type": "CosineAnnealingLrUpdaterHook", "min_lr": 0}, policies.CosineAnnealing(Target(value=0.0))),
        ({"policy": "CosineAnnealingLrUpdater", "min_lr": 0}, policies.CosineAnnealing(Target(value=0.0))),
        ({"policy": "CosineRestart", "periods": [5], "min_lr": 0}, policies.CosineRestart(Target(0.0), (5,), (1,))),
        ({"policy": "cyclic"}, policies.Cyclic((10.0, 1e-4))),
        ({"policy": "cyclic", "target_ratio": 5}, policies.Cyclic((5, 5e-5))),
        ({"policy": "OneCycle", "max_lr": 1, "div_factor": 10}, policies.OneCycle(0.1, 1.0, 0.1 * (1 / 1e4))),
        ({"policy": "UnilmCosine", "min_lr": 1e-6}, policies.UnilmCosine(Target(value=1e-6))),
    ],
)
def test_read_schedule__spellings(config, policy):
    settings, problems = read(config)
    assert settings.policy == policy
    assert problems == Problems()


def test_read_schedule__the_hub_s_usual_words():
    settings, problems = read(
        {
            "policy": "CosineAnnealing",
            "by_epoch": False,
            "min_lr_ratio": 0.01,
            "warmup": "linear",
            "warmup_ratio": 0.001,
            "warmup_iters": 20,
            "warmup_by_epoch": True,
            "_note": "comments are free",
        }
    )
    policy = policies.CosineAnnealing(Target(ratio=0.01))
    assert settings == ScheduleSettings(policy, False, WarmUp("linear", 20, 0.001, True))
    assert problems == Problems()


@pytest.mark.parametrize(
    ("config", "by_epoch"),
    [({"policy": "fixed"}, None), ({"policy": "fixed", "by_epoch": True}, True), ({"policy": "cyclic"}, False)],
)
def test_read_schedule__by_epoch_may_be_left_to_the_runner(config, by_epoch):
    assert read(config)[0].by_epoch is by_epoch


def test_read_schedule__warm_up_that_is_switched_off():
    settings, problems = read({"policy": "fixed", "warmup": None, "warmup_iters": 0, "warmup_ratio": 7})
    assert settings.warm_up is None
    assert problems == Problems()


def test_read_schedule__unilm_has_its_own_warm_up():
    settings, problems = read({"policy": "UnilmCosine", "min_lr": 0, "warmup_iters": 20, "warmup_by_epoch": True})
    assert settings.warm_up == WarmUp("from_zero", 20, 0.0, True)
    assert settings.by_epoch is False
    assert problems == Problems()
    _, problems = read({"policy": "UnilmCosine", "min_lr": 0, "warmup": "exp", "warmup_ratio": 0.1})
    assert problems.wrong == [
        "train.lr_config.warmup is 'exp': UnilmCosine rises linearly; remove it",
        "train.lr_config.warmup_ratio is 0.1: UnilmCosine rises from 0; remove it",
    ]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "policy is missing: expected: step, "),
        ({"policy": "cosineanealing"}, "policy is 'cosineanealing': did you mean cosineannealing?"),
        ({"policy": "fixed", "by_epoch": 1}, "by_epoch is 1: true or false is expected"),
        ({"policy": "cyclic", "by_epoch": True}, "by_epoch is True: this policy counts iterations"),
        ({"policy": "step"}, "step is missing: a whole number of 1 or more, or a list of such"),
        ({"policy": "step", "step": [0, 4]}, "step is [0, 4]: "),
        ({"policy": "step", "step": []}, "step is []: "),
        ({"policy": "step", "step": 3, "gamma": -1}, "gamma is -1: "),
        ({"policy": "exp"}, "gamma is missing: a number of 0 or more is expected"),
        ({"policy": "CosineAnnealing"}, "min_lr is missing: exactly one of min_lr and min_lr_ratio is expected"),
        ({"policy": "CosineAnnealing", "min_lr": 0, "min_lr_ratio": 0}, "min_lr is 0: exactly one of "),
        ({"policy": "FlatCosineAnnealing", "min_lr": 0, "start_percent": 75}, "start_percent is 75: "),
        ({"policy": "CosineRestart", "min_lr": 0}, "periods is missing: a list of whole numbers"),
        (
            {"policy": "CosineRestart", "min_lr": 0, "periods": [3, 4]},
            "restart_weights is missing: a list of 2 numbers is expected, one for each of periods",
        ),
        ({"policy": "cyclic", "target_ratio": [1, 2, 3]}, "target_ratio is [1, 2, 3]: one number or two"),
        ({"policy": "cyclic", "step_ratio_up": 1}, "step_ratio_up is 1: a number from 0 to below 1"),
        ({"policy": "OneCycle"}, "max_lr is missing: "),
        ({"policy": "OneCycle", "max_lr": [1, 2]}, "max_lr is [1, 2]: a number of 0 or more, the same for all"),
        ({"policy": "OneCycle", "max_lr": 1, "anneal_strategy": "cosine"}, "anneal_strategy is 'cosine': 'cos' or"),
        ({"policy": "OneCycle", "max_lr": 1, "total_steps": 1.5}, "total_steps is 1.5: a whole number"),
        ({"policy": "fixed", "warmup": "cosine", "warmup_iters": 1}, "warmup is 'cosine': expected: constant, "),
        ({"policy": "fixed", "warmup": "linear"}, "warmup_iters is missing: a whole number of 1 or more"),
        ({"policy": "fixed", "warmup": "exp", "warmup_iters": 1, "warmup_ratio": 0}, "warmup_ratio is 0: "),
    ],
    ids=str,
)
def test_read_schedule__what_is_wrong(config, sentence):
    _, problems = read(config)
    (told,) = problems.wrong
    assert told.startswith(f"train.lr_config.{sentence}")


def test_read_schedule__everything_wrong_at_once():
    _, problems = read({"policy": "step", "step": 0, "gamma": "x", "warmup": "no", "by_epoch": "yes"})
    assert len(problems.wrong) == 5


def test_read_schedule__keys_that_nobody_reads():
    _, problems = read({"policy": "poly", "powr": 2})
    assert list(problems.unknown) == ["train.lr_config.powr"]
    assert problems.unknown["train.lr_config.powr"] == "did you mean power?"


def test_read_schedule__keys_of_an_unknown_policy_are_not_judged():
    _, problems = read({"policy": "mine", "anything": 2})
    assert len(problems.wrong) == 1
    assert not problems.unknown


@pytest.mark.parametrize(
    ("config", "policy"),
    [
        ({"policy": "step", "step": 3}, policies.Step(3, 0.5)),
        (
            {"policy": "CosineAnnealing", "min_momentum_ratio": 0.5},
            policies.CosineAnnealing(Target(ratio=0.5)),
        ),
        ({"policy": "cyclic"}, policies.Cyclic((0.85 / 0.95, 1.0))),
        ({"type": "OneCycleMomentumUpdaterHook"}, policies.OneCycle(0.95, 0.85, 0.95)),
    ],
)
def test_read_momentum__has_defaults_of_its_own(config, policy):
    settings, problems = read(config, read_momentum, "train.momentum_config")
    assert type(settings) is MomentumSettings
    assert settings.policy == policy
    assert problems == Problems()


def test_read_momentum__warm_up_ratio():
    settings, _ = read({"policy": "cyclic", "warmup": "linear", "warmup_iters": 3}, read_momentum)
    assert settings.warm_up == WarmUp("linear", 3, 0.9, False)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"policy": "poly"}, "policy is 'poly': "),
        ({"policy": "CosineAnnealing", "min_lr": 0}, "min_momentum is missing: exactly one of min_momentum and "),
        ({"policy": "OneCycle", "max_momentum": 1.0}, "max_momentum is 1.0: a number from 0 to below 1, the same "),
    ],
)
def test_read_momentum__what_is_wrong(config, sentence):
    _, problems = read(config, read_momentum, "train.momentum_config")
    (told,) = problems.wrong
    assert told.startswith(f"train.momentum_config.{sentence}")
