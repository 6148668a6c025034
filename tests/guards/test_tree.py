"""The tree: empty __init__ files, a test file for every source file, no file whose name says nothing."""

import subprocess
from pathlib import Path

import helpers

# Source files without a test file of the same name -> "YYYY-MM-DD reason".
WITHOUT_TEST_FILE: dict[str, str] = {
    "modelscope_beit/__init__.py": "2026-11-21 a version and one call; guards/test_imports_alone.py imports it",
    "modelscope_beit/pretraining/job.py": "2026-11-21 dataclasses without a method; tests/toy_run.py makes one",
    "modelscope_beit/pretraining/stage.py": "2026-11-21 what a stage has to have; tests/toy_stage.py is one",
    "modelscope_beit/training/job.py": "2026-11-21 two dataclasses without a method; every test of training/ makes one",
}
SAYS_NOTHING = {"utils", "util", "helpers", "common", "base", "misc", "core", "tools"}


def test_subfolder_init__is_empty() -> None:
    full = [path for path in helpers.PACKAGE.glob("*/**/__init__.py") if path.read_text().strip()]
    assert not full


def test_subfolder__has_an_init() -> None:
    folders = {path.parent for path in helpers.source_files()}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_source_file__has_its_test_file() -> None:
    missing = []
    for path in helpers.source_files():
        relative = path.relative_to(helpers.PACKAGE)
        mirror = helpers.ROOT / "tests" / relative.parent / f"test_{relative.stem.strip('_')}.py"
        is_subfolder_init = relative.name == "__init__.py" and len(relative.parts) > 1
        name = path.relative_to(helpers.ROOT).as_posix()
        if not is_subfolder_init and name not in WITHOUT_TEST_FILE and not mirror.exists():
            missing.append(f"{name} has no {mirror.relative_to(helpers.ROOT).as_posix()}")
    assert not missing, "\n" + "\n".join(missing)


def test_exceptions__still_exist() -> None:
    assert not [name for name in WITHOUT_TEST_FILE if not (helpers.ROOT / name).exists()]


def test_module_name__says_what_is_inside() -> None:
    assert not [path for path in helpers.source_files() if path.stem in SAYS_NOTHING]


def test_module_name__is_not_that_of_a_library() -> None:
    """A file `onnx.py` would be found instead of the library when its folder is run from."""
    libraries = {"torch", "onnx", "timm", "transformers", "datasets", "safetensors", "modelscope", "mmcv", "mmcls"}
    assert not [path for path in helpers.source_files() if path.stem in libraries]


def tracked_files() -> list[Path]:
    """Returns what git tracks; in an unpacked source distribution, what lies there."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=helpers.ROOT, capture_output=True, text=True)
    if listing.returncode == 0:
        return [helpers.ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in helpers.ROOT.rglob("*") if path.is_file()]


def test_tracked_file__is_small() -> None:
    """The embedded weights, at most 4 MB, are the largest thing that a clone brings."""
    large = [path for path in tracked_files() if path.exists() and path.stat().st_size > 4_000_000]
    assert not large
