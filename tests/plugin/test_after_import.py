import subprocess
import sys

from modelscope_beit.plugin.after_import import _AfterImport


def run(code: str) -> str:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_after_import__calls_at_once_or_when_the_module_has_run() -> None:
    code = """
import json
from modelscope_beit.plugin.after_import import after_import
after_import("json", lambda module: print("json", module.dumps(1)))
after_import("colorsys", lambda module: print("colorsys", module.rgb_to_hsv(0, 0, 0)[2]))
after_import("wave", lambda module: print("never imported"))
print("before")
import colorsys
"""
    assert run(code).splitlines() == ["json 1", "before", "colorsys 0"]


def test_register__transformers_is_patched_only_when_it_is_imported() -> None:
    code = """
import sys, modelscope_beit, modelscope.models
print("transformers.modeling_utils" in sys.modules)
from transformers import PreTrainedModel
print(hasattr(PreTrainedModel, "post_init_origin"))
"""
    assert run(code).splitlines()[-2:] == ["False", "True"]


def test_register__transformers_is_patched_when_it_came_first() -> None:
    code = """
from transformers import PreTrainedModel
import modelscope_beit, modelscope.models
print(hasattr(PreTrainedModel, "post_init_origin"))
"""
    assert run(code).splitlines()[-1] == "True"


def test_finder__leaves_every_other_module_alone() -> None:
    finder = _AfterImport({"modelscope.utils.import_utils": print})
    assert finder.find_spec("modelscope.utils.import_utils_of_others", None) is None
    assert finder.find_spec("modelscope.utils.import_utils", []) is None
