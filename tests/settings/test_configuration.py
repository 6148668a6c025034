"""configuration.json <-> FolderSettings; ModelScope's Config and mmcls are the judges of what is written."""

import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.configuration import FolderSettings, read_configuration, unknown_keys, write_configuration
from modelscope_beit.settings.model import BackboneSettings, ModelSettings
from modelscope_beit.settings.preprocessing import evaluation_steps

TINY = helpers.TINY_CONFIGURATION
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


def changed(path, value):
    content = copy.deepcopy(TINY)
    *parents, name = path.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    section[name] = value
    return content


def read(content):
    return read_configuration(content, "configuration.json")


def test_read_configuration__tiny(tiny_settings):
    settings = read(TINY)
    assert settings.model == tiny_settings
    assert [type(step).__name__ for step in settings.preprocessing] == [
        *("LoadImageFromFile", "Resize", "CenterCrop", "Normalize", "ImageToTensor", "Collect")
    ]
    assert settings.class_names is settings.class_names_file is None
    assert settings.pipeline == "common-image-classification"
    assert settings.extra["model"]["mm_model"]["head"]["loss"] == {"type": "CrossEntropyLoss"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("preprocessor", {"val": TINY["preprocessor"]["val"]}),  # No type (B28).
        ("preprocessor", {"val": tuple(TINY["preprocessor"]["val"]), "train": []}),
        ("model_dir", "anywhere"),
        ("evaluation", {"metric_options": {"topk": (1, 5)}}),
        ("evaluation", {"metric_options": {"topk": [1, 5]}}),
        ("train", {"max_epochs": 3}),  # No runner.
        ("pipeline", {}),
        ("pipeline", "common-image-classification"),
        ("dataset", {}),
        ("dataset", None),
        ("plugins", ["something"]),
    ],
)
def test_read_configuration__tolerates(path, value):
    settings = read(changed(path, value))
    assert (settings.model, settings.preprocessing) == (read(TINY).model, read(TINY).preprocessing)
    assert settings.pipeline == "common-image-classification"
    assert "model_dir" not in settings.extra


def test_read_configuration__classes():
    assert read(changed("dataset.classes", ["a", "b"])).class_names == ("a", "b")
    assert read(changed("dataset.classes", ("a", "b"))).class_names == ("a", "b")
    by_file = read(changed("dataset.classes", "classname.txt"))
    assert (by_file.class_names, by_file.class_names_file) == (None, "classname.txt")


def test_read_configuration__modelscopes_own_config_is_left_as_it_was():
    config_module = pytest.importorskip("modelscope.utils.config", reason="ModelScope's Config is what the host gives")
    config = config_module.Config(copy.deepcopy(TINY))._cfg_dict
    before = json.dumps(config)
    assert read(config) == read(TINY)
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("framework", "tensorflow", "framework is 'tensorflow': 'pytorch' is expected"),
        ("task", "image-captioning", "task is 'image-captioning': 'image-classification' is expected"),
        ("model.type", "ofa", "model.type is 'ofa': 'ClassificationModel' is expected"),
        ("model", None, "model is None: a mapping is expected"),
        ("model.mm_model", None, "model.mm_model is None: a mapping is expected"),
        ("model.mm_model.head.num_classes", "five", "model.mm_model.head.num_classes is 'five'"),
        ("preprocessor", {}, "preprocessor.val is missing: a list of mmcls transforms"),
        ("preprocessor", {"val": {"type": "Resize"}}, "preprocessor.val is {'type': 'Resize'}: a list"),
        ("preprocessor.val", [{"type": "Resiz", "size": 3}], "preprocessor.val[0]"),
        ("dataset.classes", [1, 2], "dataset.classes is [1, 2]: null, a list of names or the path"),
        ("dataset", "imagenet", "dataset is 'imagenet': a mapping is expected"),
        ("pipeline", {"type": 3}, "pipeline is {'type': 3}: {'type': NAME} is expected"),
    ],
)
def test_read_configuration__names_key_and_value(path, value, expected):
    with pytest.raises(SettingsError) as raised:
        read(changed(path, value))
    assert str(raised.value).startswith("configuration.json cannot be used as it is:\n- ")
    assert expected in str(raised.value)


def test_read_configuration__all_problems_at_once():
    content = changed("task", "x")
    content["preprocessor"]["val"] = None
    content["model"]["mm_model"]["backbone"]["arch"] = "bas"
    with pytest.raises(SettingsError) as raised:
        read(content)
    for part in ("task is 'x'", "preprocessor.val is None", "did you mean base?"):
        assert part in str(raised.value)


def test_read_configuration__not_a_mapping():
    with pytest.raises(SettingsError, match=r"configuration.json must hold a mapping .* not \[1\]"):
        read([1])


def test_unknown_keys__names_only_the_strange_ones():
    settings = read(TINY | {"train": {}, "_about": "x", "plugins": [], "trian": {}})
    assert unknown_keys(settings) == ["trian"]


def test_write_configuration__keeps_a_recipe_whole():
    recipe = {"optimizer": {"type": "SGD", "lr": 0.1}, "mystery": 1}
    written = write_configuration(read(changed("train", recipe) | {"mystery": {"a": 1}}))
    assert written["train"]["optimizer"] == recipe["optimizer"]
    assert written["train"]["mystery"] == 1
    assert written["mystery"] == {"a": 1}
    assert written["train"]["workflow"] == [["train", 1]]


def test_write_configuration__losses_follow_the_number_of_classes():
    content = changed("model.mm_model.head.loss", {"type": "LabelSmoothLoss", "num_classes": 5})
    content["model"]["mm_model"]["train_cfg"] = {"augments": [{"type": "BatchMixup", "num_classes": 5}]}
    settings = read(content)
    mm_model = write_configuration(replace(settings, model=settings.model.with_num_classes(7)))["model"]["mm_model"]
    assert mm_model["head"]["num_classes"] == mm_model["head"]["loss"]["num_classes"] == 7
    assert mm_model["train_cfg"]["augments"][0]["num_classes"] == 7
    assert settings.extra["model"]["mm_model"]["head"]["loss"]["num_classes"] == 5


@pytest.mark.openmmlab
def test_write_configuration__every_unguarded_read_of_the_stock_trainer():
    """The reads of trainers/cv/image_classifition_trainer.py in ModelScope 1.40.2, on ModelScope's own Config."""
    config_module = pytest.importorskip("modelscope.utils.config", reason="ModelScope's Config is what the host gives")
    settings = FolderSettings(ModelSettings(), evaluation_steps((224, 224), crop_pct=0.9, **IMAGENET), extra={})
    cfg = config_module.Config(json.loads(json.dumps(write_configuration(settings))))
    train = cfg.train
    assert train.max_epochs and train.workflow and train.optimizer and train.lr_config
    assert train.checkpoint_config and train.log_config and train.optimizer_config
    assert train.dataloader.batch_size_per_gpu and train.dataloader.workers_per_gpu
    assert cfg.evaluation.dataloader.batch_size_per_gpu and cfg.evaluation.dataloader.workers_per_gpu
    assert cfg.evaluation.metrics and cfg.dataset.classes is None
    assert cfg.preprocessor.train and cfg.preprocessor.val and cfg.framework == "pytorch"
    # What the scripts on the model cards set.
    cfg.model.mm_model.head.loss.num_classes = cfg.model.mm_model.head.num_classes = 14
    cfg.train.lr_config.warmup_iters = 1
    cfg.train.evaluation.metric_options = {"topk": (1,)}
    cfg.evaluation.metric_options = {"topk": (1, 5)}
    mmcls_models = pytest.importorskip("mmcls.models", reason="mmcls is the oracle")
    pytest.importorskip("modelscope.models.cv.image_classification.backbones", reason="needs ModelScope's backbone")
    assert mmcls_models.build_classifier(cfg.model.mm_model).head.fc.out_features == 14


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    extra=st.dictionaries(st.text(max_size=9).map("unknown {}".format), json_values, max_size=3),
    class_names=st.none() | st.lists(st.text(min_size=1), min_size=1).map(tuple),
    num_classes=st.integers(1, 2000),
    crop_pct=st.floats(0.5, 1.0),
)
def test_write_configuration__there_and_back_through_json(extra, class_names, num_classes, crop_pct):
    settings = FolderSettings(
        ModelSettings(BackboneSettings(image_size=(64, 96)), num_classes),
        evaluation_steps((64, 96), crop_pct=crop_pct, **IMAGENET),
        class_names,
        extra=extra,
    )
    written = json.loads(json.dumps(write_configuration(settings)))
    again = read(written)
    assert replace(again, extra={}) == replace(settings, extra={})
    assert {name: again.extra[name] for name in extra} == extra
    assert write_configuration(again) == written


@given(json_values)
def test_read_configuration__any_json_is_read_or_refused(content):
    with pytest.raises(SettingsError):
        read(content)


@pytest.mark.parametrize("path", ["model", "model.mm_model.backbone", "model.mm_model.head", "preprocessor", "dataset"])
@given(value=json_values)
@hypothesis_settings(deadline=None, max_examples=60)
def test_read_configuration__any_value_is_read_or_refused(path, value):
    try:
        read(changed(path, value))
    except SettingsError as error:
        assert str(error)
