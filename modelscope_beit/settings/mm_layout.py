"""A configuration in mmcls 0.x's own layout -> the same in the layout of the hub's configuration.json.

mmcls has `model`, `data`, `optimizer`, `runner` and so on side by side; the hub has the network under model.mm_model,
what concerns training under `train`, the transforms under `preprocessor`. Nothing is judged here. Standard library
only. Source: mmcls 0.25.0, apis/train.py; ModelScope's trainers/cv/image_classifition_trainer.py.
"""

from collections.abc import Mapping

from modelscope_beit import names
from modelscope_beit.settings.problems import plain

# Keys that keep their names, under `train` and at the top.
_OF_TRAINING = (
    *("optimizer", "optimizer_config", "lr_config", "momentum_config", "runner", "sampler", "workflow"),
    *("checkpoint_config", "log_config", "custom_hooks", "evaluation"),
)
_OF_THE_RUN = (
    *("fp16", "seed", "deterministic", "device", "gpu_ids", "launcher", "dist_params", "find_unused_parameters"),
    *("log_level", "cudnn_benchmark", "opencv_num_threads", "mp_start_method"),
)
_LOADER_WORDS = {"samples_per_gpu": "batch_size_per_gpu", "workers_per_gpu": "workers_per_gpu"}
# Both have mmcls's own names for what the hub's `evaluation` says.
_METRIC_WORDS = {"metric": "metrics", "metric_options": "metric_options"}


def hub_layout(configuration: Mapping[str, object]) -> dict[str, object]:
    """Returns an mmcls configuration (whole, without `_base_`) as configuration.json would say it.

    data.test.pipeline becomes preprocessor.val, as in ModelScope's stock class, and data.train.pipeline, also that of a
    wrapped data set or of the first of several, preprocessor.train. Which data there are is left out, but for the
    class names; so is where training began (load_from, resume_from), because the weights beside the configuration are
    those it led to. Sections that the configuration lacks are not there.
    """
    content = plain(configuration)
    assert isinstance(content, dict)
    data = _child(content, "data")
    test, train = _innermost(data.get("test") or data.get("val")), _innermost(data.get("train"))
    classes = train.get("classes", test.get("classes"))
    hub: dict[str, object] = {
        "model": {"type": names.MODEL, "mm_model": content.get("model")},
        "preprocessor": _without_none({"train": train.get("pipeline"), "val": test.get("pipeline")}),
    }
    optional = {
        "dataset": _without_none({"classes": classes}),
        "train": _training(content, data),
        "evaluation": _evaluation(content, data),
    }
    hub |= {name: section for name, section in optional.items() if section}
    return hub | _chosen(content, _OF_THE_RUN)


def _training(content: Mapping[str, object], data: Mapping[str, object]) -> dict[str, object]:
    train = _chosen(content, _OF_TRAINING)
    runner = dict(_child(content, "runner"))
    if runner.get("type", "EpochBasedRunner") == "EpochBasedRunner":
        # The hub's scripts set train.max_epochs, so that is where it has to be.
        length = runner.pop("max_epochs", content.get("total_epochs"))
        train |= _without_none({"max_epochs": length})
        train.pop("runner", None)
        if runner.keys() - {"type"}:
            train["runner"] = runner
    if train and (loader := _loader(data, "train_dataloader")):
        train["dataloader"] = loader
    return train


def _evaluation(content: Mapping[str, object], data: Mapping[str, object]) -> dict[str, object]:
    """Returns what the hub says of the evaluation after training; mmcls has the same words for that during it."""
    during = _child(content, "evaluation")
    evaluation: dict[str, object] = {hub: during[word] for word, hub in _METRIC_WORDS.items() if word in during}
    if loader := _loader(data, "test_dataloader"):
        evaluation["dataloader"] = loader
    return evaluation


def _loader(data: Mapping[str, object], own: str) -> dict[str, object]:
    """Returns a `dataloader`: what `data` says for all loaders, and for this one."""
    given = {**data, **_child(data, own)}
    return {hub: given[word] for word, hub in _LOADER_WORDS.items() if word in given}


def _innermost(data_set: object) -> dict[str, object]:
    """Returns the data set within RepeatDataset, ClassBalancedDataset and the like; of several, the first."""
    while True:
        if isinstance(data_set, list) and data_set:
            data_set = data_set[0]
        elif isinstance(data_set, dict) and ("dataset" in data_set or "datasets" in data_set):
            data_set = data_set.get("dataset", data_set.get("datasets"))
        else:
            return data_set if isinstance(data_set, dict) else {}


def _chosen(content: Mapping[str, object], keys: tuple[str, ...]) -> dict[str, object]:
    return {key: content[key] for key in keys if key in content}


def _without_none(mapping: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in mapping.items() if value is not None}


def _child(mapping: Mapping[str, object], name: str) -> dict[str, object]:
    """Returns the mapping under a key, or an empty one if there is none."""
    value = mapping.get(name)
    return value if isinstance(value, dict) else {}
