"""Our registered names are the stock ones, each of them, and a few of our own; no other entry of the index changes."""

import json
import sys

import pytest

import fresh_interpreters
from modelscope_beit import names

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")

Index = dict[tuple[str, str, str], str]

PRINT_INDEX = """
import json
from modelscope.utils.import_utils import LazyImportModule
print(json.dumps([[*key, entry["module"]] for key, entry in LazyImportModule.get_ast_index()["index"].items()]))
"""
STOCK_MODULES = {
    "modelscope.models.cv.image_classification.mmcls_model": "modelscope_beit.plugin.model",
    "modelscope.preprocessors.cv.mmcls_preprocessor": "modelscope_beit.plugin.preprocessor",
    "modelscope.pipelines.cv.image_classification_pipeline": "modelscope_beit.plugin.pipeline",
    "modelscope.trainers.cv.image_classifition_trainer": "modelscope_beit.plugin.trainer",
}
# The names that the host does not have: an exporter, pre-training, and semantic segmentation.
OWN = {
    ("TRAINERS", "default", "beitv2-tokenizer"): "modelscope_beit.plugin.pretraining_trainer",
    ("TRAINERS", "default", "beitv2-pretraining"): "modelscope_beit.plugin.pretraining_trainer",
    ("EXPORTERS", "image-classification", "ClassificationModel"): "modelscope_beit.plugin.exporter",
    ("MODELS", "semantic-segmentation", "beit-semantic-segmentation"): "modelscope_beit.plugin.segmentation_model",
    ("MODELS", "image-segmentation", "beit-semantic-segmentation"): "modelscope_beit.plugin.segmentation_model",
    (
        "PIPELINES",
        "semantic-segmentation",
        "beit-semantic-segmentation",
    ): "modelscope_beit.plugin.segmentation_pipeline",
    ("PIPELINES", "image-segmentation", "beit-semantic-segmentation"): "modelscope_beit.plugin.segmentation_pipeline",
}
# Registered by a stock module that registers other things too.
BYPASS = ("PREPROCESSORS", "cv", names.BYPASS_PREPROCESSOR)


def index(program: str) -> Index:
    """Returns key -> module of the host's index in a fresh interpreter."""
    output = fresh_interpreters.output_of(program + PRINT_INDEX)
    return {(registry, group, name): module for registry, group, name, module in json.loads(output)}


def test_index__has_ours_for_every_stock_name_and_nothing_else() -> None:
    stock = index("")
    expected = {key: STOCK_MODULES.get(module, module) for key, module in stock.items()}
    expected[BYPASS] = "modelscope_beit.plugin.preprocessor"
    assert BYPASS in stock and not OWN.keys() & stock.keys()
    expected |= OWN
    assert index("import modelscope_beit\n") == expected
    assert index("import modelscope\nimport modelscope_beit\n") == expected


def test_names__are_those_that_the_host_spells() -> None:
    program = (
        "from modelscope.metainfo import Models, Pipelines, Preprocessors, Trainers\n"
        "from modelscope.utils.constant import Fields, ModelFile, Tasks\n"
        "print(Tasks.image_classification, Models.classification_model, Trainers.image_classification, Fields.cv,\n"
        "Preprocessors.image_classification_mmcv_preprocessor,\n"
        "Preprocessors.image_classification_bypass_preprocessor,\n"
        "ModelFile.CONFIGURATION, ModelFile.TORCH_MODEL_FILE, Pipelines.common_image_classification,\n"
        "Tasks.semantic_segmentation, Tasks.image_segmentation)"
    )
    assert tuple(fresh_interpreters.output_of(program).split()) == (
        names.TASK,
        names.MODEL,
        names.TRAINER,
        names.PREPROCESSOR_GROUP,
        names.PREPROCESSOR,
        names.BYPASS_PREPROCESSOR,
        names.CONFIGURATION_FILE,
        names.WRITTEN_WEIGHT_FILE,
        names.WRITTEN_PIPELINE,
        *names.SEGMENTATION_TASKS,
    )
    assert names.WRITTEN_PIPELINE in names.PIPELINES
