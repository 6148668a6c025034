"""Names stay ours also where a stock module can only be imported later, as without OpenCV."""

import builtins
import sys
from pathlib import Path

import pytest
from modelscope.utils.registry import Registry

import fresh_interpreters
from fresh_interpreters import BEHIND_THE_PIPELINES
from modelscope_beit.plugin.host_fixes import register_over

# A plain install has none of these. A module that is None cannot be imported.
WITHOUT = "import sys\nfor name in ('cv2', 'mmcv', 'mmcls', 'timm'): sys.modules[name] = None\n"
PIPELINE = """
import modelscope_beit
from modelscope.pipelines import pipeline
from modelscope.pipelines.builder import PIPELINES
answer = pipeline("image-classification", model={folder!r}, device="cpu")({picture!r})
assert len(answer["labels"]) == 5
"""
STOCK = "modelscope.pipelines.cv.image_classification_pipeline"
NOW_WITH_OPENCV = f"""
for name in ('cv2', 'mmcv', 'mmcls', 'timm'): del sys.modules[name]
import modelscope.preprocessors.image
from {STOCK} import GeneralImageClassificationPipeline as Stock
from modelscope_beit import names
from modelscope_beit.plugin.pipeline import BeitImageClassificationPipeline as Ours
assert Stock.group_key == "image-classification"
assert {{PIPELINES.get(name, names.TASK) for name in names.PIPELINES}} == {{Ours}}
"""

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")


@needs_fork
def test_pipeline__works_without_opencv_and_keeps_its_names_when_it_comes(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    pytest.importorskip("cv2", reason="the stock classes need OpenCV, which comes with mmcv")
    classify = PIPELINE.format(folder=str(tiny_model_folder), picture=str(ten_images[0]))
    programs = [
        WITHOUT + classify,
        WITHOUT + classify + NOW_WITH_OPENCV,
        # Somebody asked for the stock class first, in vain.
        f"{WITHOUT}try: import {STOCK}\nexcept ImportError: pass\n{classify}{NOW_WITH_OPENCV}",
    ]
    assert [errors for status, _, errors in fresh_interpreters.outcomes(programs, BEHIND_THE_PIPELINES) if status] == []


@needs_fork
def test_stock_class__is_missed_only_when_it_is_asked_for() -> None:
    program = (
        WITHOUT + "from modelscope_beit.plugin.pipeline import BeitImageClassificationPipeline as Ours\n"
        "from modelscope_beit.errors import MissingPackageError\n"
        "try: Ours._instantiate(model=None)\n"
        "except MissingPackageError as error: print(error)"
    )
    message = fresh_interpreters.output_of(program, BEHIND_THE_PIPELINES)
    assert "cv2" in message
    assert "modelscope-beit[openmmlab]" in message


@pytest.fixture
def registry() -> Registry:
    return Registry("tests")


def test_register_over__replaces_what_the_stock_module_registers(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stock_module.py").write_text(
        "import builtins\nbuiltins.registry_of_the_test.register_module('group', 'name', type('Stock', (), {}))"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "registry_of_the_test", registry, raising=False)
    ours = type("Ours", (), {})
    register_over("stock_module", registry, "group", ["name"], ours)
    assert "stock_module" in sys.modules
    assert registry.get("name", "group") is ours


def test_register_over__lets_a_late_stock_class_pass(registry: Registry) -> None:
    ours, late, other = type("Ours", (), {}), type("Late", (), {}), type("Other", (), {})
    register_over("a_module_that_is_not_there", registry, "group", ["name"], ours)
    assert registry.register_module("group", "name", late) is late
    assert registry.get("name", "group") is ours
    assert late.group_key == "group"
    # Other names and groups, and whoever says force, register as ever; an equal name is still refused.
    registry.register_module("group", "other", other)
    registry.register_module("another group", "name", other)
    assert registry.get("other", "group") is registry.get("name", "another group") is other
    with pytest.raises(KeyError, match="already registered"):
        registry.register_module("group", "other", late)
    registry.register_module("group", "name", late, force=True)
    assert registry.get("name", "group") is late


def test_register_over__lets_another_error_through(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_stock.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        register_over("broken_stock", registry, "group", ["name"], type("Ours", (), {}))
