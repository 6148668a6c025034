"""ModelScope builds our classes under the stock names, whatever was imported before, between and after."""

import sys

import pytest

import fresh_interpreters
from modelscope_beit import names

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")

OURS = "import modelscope_beit"
STOCK_PIPELINE = (
    "from modelscope.pipelines.cv.image_classification_pipeline import GeneralImageClassificationPipeline as Stock"
)
STOCK_MODEL = "from modelscope.models.cv.image_classification import ClassificationModel as StockModel"
STOCK_PREPROCESSORS = (
    "import modelscope.preprocessors.image\nfrom modelscope.preprocessors import ImageClassificationMmcvPreprocessor"
)
STOCK_TRAINER = "from modelscope.trainers.cv.image_classifition_trainer import ImageClassifitionTrainer"
OUR_MODULES = "import modelscope_beit.plugin.{0}".format
ORDERS = {
    "ours alone": [OURS],
    "ours before the host": [OURS, "import modelscope"],
    "the host before ours": ["import modelscope", OURS],
    "ours before the pipelines": [OURS, "import modelscope.pipelines"],
    "the pipelines before ours": ["import modelscope.pipelines", OURS],
    "stock pipeline before ours": [STOCK_PIPELINE, OURS],
    "stock pipeline after ours": [OURS, STOCK_PIPELINE],
    "stock pipeline after our pipeline": [OUR_MODULES("pipeline"), STOCK_PIPELINE],
    "stock trainer before ours": [STOCK_TRAINER, OURS],
    "stock trainer after our trainer": [OUR_MODULES("trainer"), STOCK_TRAINER],
    "stock pipeline between": [OURS, STOCK_PIPELINE, OUR_MODULES("pipeline")],
    "all stock classes before ours": [STOCK_MODEL, STOCK_PREPROCESSORS, STOCK_PIPELINE, OURS],
    "all stock classes after ours": [
        *map(OUR_MODULES, ("pipeline", "preprocessor", "model")),
        STOCK_MODEL,
        STOCK_PREPROCESSORS,
        STOCK_PIPELINE,
    ],
    "our modules the other way round": [*map(OUR_MODULES, ("model", "preprocessor", "pipeline"))],
    "the lazy way to the stock pipeline": [
        OURS,
        "from modelscope.pipelines.cv import GeneralImageClassificationPipeline",
    ],
}

# What the host's build_from_cfg does for a name, and then the first line of a script that wants the stock class.
BUILT = f"""
import importlib
from modelscope.models.builder import MODELS
from modelscope.pipelines.builder import PIPELINES
from modelscope.preprocessors.builder import PREPROCESSORS
from modelscope.trainers.builder import TRAINERS
from modelscope.utils.import_utils import LazyImportModule
for registry, group, names in (
    (PIPELINES, {names.TASK!r}, {names.PIPELINES!r}),
    (PREPROCESSORS, {names.PREPROCESSOR_GROUP!r}, {(names.PREPROCESSOR, names.BYPASS_PREPROCESSOR)!r}),
    (MODELS, {names.TASK!r}, {(names.MODEL,)!r}),
    (TRAINERS, {names.TRAINER_GROUP!r}, {(names.TRAINER,)!r}),
):
    for name in names:
        LazyImportModule.import_module((registry.name.upper(), group, name))
        assert registry.get(name, group).__module__.startswith("modelscope_beit."), (registry, name)
        assert registry.get(name, group).group_key == group
{STOCK_PIPELINE}
assert Stock.__module__.startswith("modelscope.") and Stock.group_key == {names.TASK!r}
"""


def test_name__is_ours_in_any_order_of_imports() -> None:
    pytest.importorskip("cv2", reason="the stock classes need OpenCV, which comes with mmcv")
    programs = ["\n".join([*lines, BUILT]) for lines in ORDERS.values()]
    imported = (*fresh_interpreters.BEHIND_THE_PIPELINES, "cv2")
    failed = [
        f"{order}: {errors}"
        for order, (status, _, errors) in zip(ORDERS, fresh_interpreters.outcomes(programs, imported), strict=True)
        if status
    ]
    assert not failed, "\n\n".join(failed)


def test_register__twice_changes_nothing() -> None:
    program = (
        "import sys, modelscope_beit\nfrom modelscope_beit.plugin.registration import register\n"
        "before = list(sys.meta_path)\nregister()\nassert sys.meta_path == before\n"
        "import modelscope\nregister()\nassert sys.meta_path == before\n"
        "from modelscope.utils.import_utils import LazyImportModule\n"
        "index = LazyImportModule.get_ast_index()['index']\nprint(len(index) == len(set(index)))"
    )
    assert fresh_interpreters.output_of(program) == "True\n"


def test_register__survives_a_failed_and_a_repeated_import_of_the_host() -> None:
    program = (
        "import sys, modelscope_beit\nsys.modules['modelscope.utils.logger'] = None\n"
        "try: import modelscope\nexcept ImportError: pass\nelse: raise AssertionError('imported without its logger')\n"
        "for name in [name for name in sys.modules if name.startswith('modelscope.')] + ['modelscope']:\n"
        "    sys.modules.pop(name, None)\n"
        "import importlib\nhost = importlib.import_module('modelscope.utils.import_utils')\n"
        "key = ('MODELS', 'image-classification', 'ClassificationModel')\n"
        "print(host.LazyImportModule.get_ast_index()['index'][key]['module'])\n"
        "importlib.reload(host)\n"
        "print(host.LazyImportModule.get_ast_index()['index'][key]['module'])"
    )
    assert fresh_interpreters.output_of(program) == "modelscope_beit.plugin.model\n" * 2
