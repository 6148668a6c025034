"""The names are those of ModelScope's own tables, read from ModelScope."""

import re

from modelscope import metainfo
from modelscope.utils.constant import Fields, ModelFile, Tasks

from modelscope_beit import names


def test_registered_names__are_the_hosts() -> None:
    assert names.TASK == Tasks.image_classification
    assert names.MODEL == metainfo.Models.classification_model
    assert names.TRAINER == metainfo.Trainers.image_classification
    assert names.PREPROCESSOR_GROUP == Fields.cv
    assert names.PREPROCESSOR == metainfo.Preprocessors.image_classification_mmcv_preprocessor
    assert names.BYPASS_PREPROCESSOR == metainfo.Preprocessors.image_classification_bypass_preprocessor


def test_pipelines__are_names_of_the_host_without_repetition() -> None:
    known = {value for key, value in vars(metainfo.Pipelines).items() if not key.startswith("_")}
    assert set(names.PIPELINES) <= known | {names.TASK}
    assert len(set(names.PIPELINES)) == len(names.PIPELINES)
    assert names.WRITTEN_PIPELINE in names.PIPELINES


def test_files__are_those_that_the_host_looks_for() -> None:
    assert names.CONFIGURATION_FILE == ModelFile.CONFIGURATION
    assert names.WEIGHT_FILES[0] == names.WRITTEN_WEIGHT_FILE == ModelFile.TORCH_MODEL_FILE


def test_hub_ids__have_owner_and_name() -> None:
    for hub_id in (names.HUB_BASE, names.HUB_LARGE):
        assert re.fullmatch(r"[\w-]+/[\w-]+", hub_id)
