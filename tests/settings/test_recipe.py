"""A whole configuration of a run; real configurations of mmcls 0.25 and the changes that model cards make are read."""

import contextlib
import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.configuration import FolderSettings, read_configuration, write_configuration
from modelscope_beit.settings.fine_tuning_defaults import fine_tuning_defaults
from modelscope_beit.settings.introduced_keys import key_places
from modelscope_beit.settings.log_once import log_once
from modelscope_beit.settings.losses import CrossEntropyLoss, LabelSmoothLoss
from modelscope_beit.settings.mm_layout import hub_layout
from modelscope_beit.settings.overrides import SHORT_KEYS, apply_overrides
from modelscope_beit.settings.recipe import Recipe, read_recipe
from modelscope_beit.settings.run_settings import EmaSettings

# A folder as the hub has it: every section that the stock trainer reads, an addition that nobody does.
FOLDER: dict[str, Any] = json.loads(json.dumps(helpers.TINY_CONFIGURATION))
FOLDER["model"]["mm_model"]["head"]["loss"] = {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": 1000}
FOLDER["model"]["mm_model"]["train_cfg"] = {
    "augments": [
        {"type": "BatchMixup", "alpha": 0.8, "num_classes": 1000, "prob": 0.5},
        {"type": "BatchCutMix", "alpha": 1.0, "num_classes": 1000, "prob": 0.5},
    ]
}
for _name, _section in fine_tuning_defaults((32, 32), FOLDER["preprocessor"]["val"]).items():
    FOLDER[_name] = {**_section, **FOLDER.get(_name, {})}  # type: ignore[dict-item]
FOLDER["train"]["hub_note"] = {"written_by": "somebody"}


def changed(*overrides: str) -> tuple[FolderSettings, Recipe]:
    return read_recipe(apply_overrides(FOLDER, overrides), where="x", original=FOLDER)


def modified(modify: Callable[[Any], None]) -> tuple[FolderSettings, Recipe]:
    """Reads what a cfg_modify_fn makes of the folder's configuration, which ModelScope hands out as an addict."""
    addict = pytest.importorskip("addict", reason="ModelScope's configurations are addict mappings")
    cfg = addict.Dict(copy.deepcopy(FOLDER))
    modify(cfg)
    return read_recipe(cfg, where="x", original=FOLDER)


def problems_of(*overrides: str) -> list[str]:
    with pytest.raises(SettingsError) as told:
        changed(*overrides)
    return str(told.value).split("\n- ")[1:]


def test_read_recipe__without_any_recipe_takes_the_defaults() -> None:
    bare = copy.deepcopy(helpers.TINY_CONFIGURATION)
    folder, recipe = read_recipe(bare, where="x")
    assert folder == read_configuration(bare, "x")
    assert (recipe.epochs, recipe.iterations, recipe.batch_size, recipe.workers) == (30, None, 32, 2)
    assert (recipe.optimizer.kind, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("AdamW", 5e-5, 0.05)
    assert recipe.clip is not None and recipe.clip.max_norm == 5.0
    assert recipe.evaluation.save_best == "auto"
    assert (recipe.precision, recipe.device, recipe.seed, recipe.validates) == ("auto", "auto", 0, True)
    assert (recipe.mixing, recipe.ema, recipe.momentum, recipe.resume_from) == (None, None, None, None)
    # mmcls's own default of both heads.
    del bare["model"]["mm_model"]["head"]["loss"]
    assert read_recipe(bare, where="x")[1].loss == CrossEntropyLoss()


def test_read_recipe__is_the_same_after_writing_the_folder() -> None:
    folder, recipe = read_recipe(FOLDER, where="x")
    again = json.loads(json.dumps(write_configuration(folder)))
    assert read_recipe(again, where="x") == (read_configuration(again, "x"), recipe)


def test_read_recipe__changes_nothing() -> None:
    before = copy.deepcopy(FOLDER)
    read_recipe(FOLDER, where="x", original=FOLDER)
    assert FOLDER == before


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("train.runner={'type': 'EpochBasedRunner', 'max_epochs': 7}", "epochs", 30),
        ("batch_size=8", "batch_size", 8),
        ("eval_batch_size=9", "evaluation_batch_size", 9),
        ("train.workflow=[['train', 1], ['val', 1]]", "has_validation_phase", True),
        ("train.workflow=null", "has_validation_phase", False),
        ("train.optimizer_config=null", "clip", None),
        ("accumulation=4", "accumulation", 4),
        ("model.mm_model.train_cfg=null", "mixing", None),
        ("precision=bf16", "precision", "bf16"),
        ("fp16={'loss_scale': 512.0}", "loss_scale", 512.0),
        ("fp16=true", "precision", "fp16"),
        ("ema=0.001", "ema", EmaSettings(0.001)),
        ("train.log_config.interval=3", "log_interval", 3),
        ("no_validate=true", "validates", False),
        ("train.sampler={'type': 'ClassBalanced'}", "order", "class_balanced"),
        ("seed=3", "seed", 3),
        ("deterministic=true", "deterministic", True),
        ("compile=true", "compile", True),
        ("train.resume_from=run/latest.pth", "resume_from", "run/latest.pth"),
        ("train.load_from=some.pth", "load_from", "some.pth"),
        ("gpu_ids=[1]", "device", "cuda:1"),
        ("find_unused_parameters=true", "find_unused_parameters", True),
    ],
)
def test_read_recipe__reads_each_key_where_mm_has_it(override: str, field: str, value: object) -> None:
    assert getattr(changed(override)[1], field) == value


def test_read_recipe__nulls_and_absences_are_no_problem() -> None:
    keys = "momentum_config custom_hooks sampler runner checkpoint_config log_config lr_config evaluation".split()
    recipe = changed(*(f"train.{key}=null" for key in keys))[1]
    assert recipe.checkpoint.interval == -1
    assert recipe.evaluation.metrics == ()
    without = copy.deepcopy(FOLDER)
    for key in (*keys, "workflow", "optimizer_config", "dataloader", "optimizer", "max_epochs"):
        without["train"].pop(key, None)
    del without["evaluation"], without["dataset"], without["preprocessor"]["train"]
    assert read_recipe(without, where="x")[1].optimizer.lr == 5e-5


def test_read_recipe__epochs_of_the_runner_where_nothing_else_says_them() -> None:
    folder = copy.deepcopy(FOLDER)
    del folder["train"]["max_epochs"]
    folder["train"]["runner"] = {"type": "EpochBasedRunner", "max_epochs": 7}
    assert read_recipe(folder, where="x")[1].epochs == 7


def test_read_recipe__a_runner_of_iterations_counts_everything_in_them() -> None:
    recipe = changed("train.runner={'type': 'IterBasedRunner', 'max_iters': 70}")[1]
    assert (recipe.epochs, recipe.iterations) == (None, 70)
    # mmcv's IterBasedRunner sets by_epoch to false where nothing is said about it.
    assert not recipe.evaluation.by_epoch and not recipe.checkpoint.by_epoch


def test_read_recipe__class_counts_of_losses_and_mixing_do_not_matter() -> None:
    folder, recipe = changed("model.mm_model.head.num_classes=3", "model.mm_model.head.loss.num_classes=77")
    assert folder.model.num_classes == 3
    assert recipe.loss == LabelSmoothLoss(label_smooth_val=0.1)


def test_read_recipe__takes_what_the_model_cards_write() -> None:
    def modify(cfg: Any) -> None:
        cfg.model.mm_model.head.num_classes = 100
        cfg.model.mm_model.head.loss.num_classes = 100
        cfg.model.mm_model.train_cfg.augments[0].num_classes = 100
        cfg.train.optimizer.lr = 5e-4
        cfg.train.lr_config.warmup_iters = 2
        cfg.train.checkpoint_config.create_symlink = False
        cfg.train.evaluation.metric_options = {"topk": (1,)}
        cfg.evaluation.metric_options = {"topk": (1, 5)}
        cfg.train.dataloader.workers_per_gpu = 4
        cfg.train.max_epochs = 2
        # A script that only looks leaves an empty mapping behind.
        assert not cfg.train.runner and not cfg.train.momentum_config and not cfg.fp16 and not cfg.device

    folder, recipe = modified(modify)
    assert folder.model.num_classes == 100
    assert (recipe.optimizer.lr, recipe.epochs, recipe.workers) == (5e-4, 2, 4)
    assert (recipe.evaluation.options.topk, recipe.final_evaluation.options.topk) == ((1,), (1, 5))
    assert (recipe.checkpoint.create_symlink, recipe.precision) == (False, "auto")


def test_read_recipe__tells_all_problems_of_all_parts_at_once() -> None:
    problems = problems_of(
        "model.mm_model.backbone.pach_size=8",
        "preprocessor.val.2.crop_size=wide",
        "preprocessor.train.1.size=-1",
        "model.mm_model.head.loss.label_smooth_val=2",
        "model.mm_model.train_cfg.augments.0.alpha=-1",
        "train.optimizer.type=AdamX",
        "train.optimizer_config.grad_clip.max_norm=0",
        "train.lr_config.policy=Cosinus",
        "train.momentum_config.policy=Nothing",
        "train.evaluation.metric=acuracy",
        "evaluation.dataloader.batch_size_per_gpu=0",
        "train.max_epochs=0",
        "train.sampler.type=GroupSampler",
        "train.optimzer.lr=1",
        "device=gpu:one",
    )
    told = "\n".join(problems)
    for path in (
        "model.mm_model.backbone.pach_size",
        "preprocessor.val[2]",
        "preprocessor.train[1]",
        "model.mm_model.head.loss.label_smooth_val",
        "model.mm_model.train_cfg.augments[0]",
        "train.optimizer.type",
        "train.optimizer_config.grad_clip.max_norm",
        "train.lr_config.policy",
        "train.momentum_config.policy",
        "train.evaluation.metric",
        "evaluation.dataloader.batch_size_per_gpu",
        "train.max_epochs",
        "train.sampler.type",
        "train.optimzer.lr",
        "device",
    ):
        assert path in told, path
    # mmcls would be no way out.
    assert "pip install" not in told


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("train.optimzer.lr=1e-4", "train.optimizer.lr"),
        ("train.lr=1e-4", "train.optimizer.lr"),
        ("train.max_epoch=3", "train.max_epochs"),
        ("train.optimizer.paramwise_cfg.norm_decay_mul=0", "norm_decay_mult"),
        ("train.evaluation.savebest=auto", "save_best"),
        ("evaluation.dataloader.batch_size=3", "batch_size_per_gpu"),
        ("model.mm_model.train_cfg.augment=[]", "augments"),
        ("train.lr_scheduler.type=LinearLR", "this trainer reads train.lr_config"),
        ("train.hub_note.lr=1", "nobody reads this"),
        ("no_valdate=true", "no_validate"),
        ("train.custom_hooks=[{'type': 'EarlyStopHook'}]", "EMAHook is run"),
        ("train.dataloader.drop_last=true", "always false"),
    ],
)
def test_read_recipe__an_introduced_key_that_nobody_reads_is_a_mistake(override: str, meant: str) -> None:
    (problem,) = problems_of(override)
    assert override.partition("=")[0] in problem
    assert meant in problem


def test_read_recipe__keys_of_the_folder_itself_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    log_once.cache_clear()
    for rate in ("1e-3", "1e-4"):
        read_recipe(apply_overrides(FOLDER, [f"lr={rate}"]), where="this test", original=FOLDER)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "these keys of this test" in message and "train.hub_note" in message


@pytest.mark.parametrize("content", [None, [], "x"])
def test_read_recipe__refuses_what_is_no_mapping(content: Any) -> None:
    with pytest.raises(SettingsError, match="x must hold a mapping"):
        read_recipe(content, where="x")


SHORT_VALUES = {
    "workers": "3",
    "precision": "bf16",
    "compile": "true",
    "gradient_checkpointing": "true",
    "device": "cpu",
    "ema": "0.001",
}
STRANGE = [None, "x", "", -1, 0, 7, 3.5, 10**30, True, [], {}, [1], ["x"], [[1]], [None], {"type": "x"}, {"a": 1}, [{}]]
WHOLE = "epochs iterations batch_size eval_batch_size workers accumulation warmup_epochs frozen_stages".split()
WHOLE += ["patience", "seed"]


@pytest.mark.parametrize("name", SHORT_KEYS)
def test_short_key__is_understood(name: str) -> None:
    value = SHORT_VALUES.get(name, "2" if name in WHOLE else "0.25")
    assert changed(f"{name}={value}") != changed()


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_read_recipe__a_value_of_any_kind_is_read_or_refused(data: st.DataObject) -> None:
    """Nothing but a SettingsError may come of a configuration, whatever somebody writes into it."""
    place = data.draw(st.sampled_from([place for place, _ in key_places(FOLDER) if '"' not in place]))
    value = data.draw(st.sampled_from(STRANGE))
    with contextlib.suppress(SettingsError):
        changed(f"{place}={json.dumps(value)}")


def mmcls_recipes() -> Iterator[Path]:
    mmcls = pytest.importorskip("mmcls", reason="mmcls brings the configurations")
    yield from sorted((Path(mmcls.__file__).parent / ".mim" / "configs").glob("[!_]*/*.py"))


@pytest.mark.openmmlab
@pytest.mark.filterwarnings("ignore")
def test_read_recipe__reads_every_recipe_of_mmcls(caplog: pytest.LogCaptureFixture) -> None:
    mmcv = pytest.importorskip("mmcv", reason="mmcv reads the configurations")
    caplog.set_level("INFO")
    log_once.cache_clear()
    refused, count = {}, 0
    for path in mmcls_recipes():
        try:
            config = mmcv.Config.fromfile(str(path))
        except FileNotFoundError:
            # Two old names in mmcls's wheel inherit from files that are gone.
            continue
        count += 1
        try:
            read_recipe(hub_layout(dict(config)), where=path.stem)
        except SettingsError as error:
            refused[path.stem] = str(error)
    assert count > 250
    # Its pictures are grey.
    assert refused.keys() == {"lenet5_mnist"}
    # Nothing is passed over but what a Graphcore IPU needs, and batch statistics that some networks count anew.
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("modelscope_beit")]
    assert [name for name in ("regnet", "ipu", "preciseBN") if not any(name in message for message in ours)] == []
    assert [message for message in ours if not re.search("regnet|ipu|preciseBN", message)] == []
