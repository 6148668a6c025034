"""Options and opening, as `beit embed` and `beit probe` have them."""

import argparse
import shutil
from pathlib import Path

import pytest

from modelscope_beit.commands.feature_arguments import add_feature_arguments, open_named_model
from modelscope_beit.errors import SettingsError


def parsed(model: Path, *options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    add_feature_arguments(parser)
    return parser.parse_args([str(model), *options])


def test_add_feature_arguments__have_defaults() -> None:
    found = parsed(Path("m"))
    assert (found.feature, found.batch_size, found.device, found.json) == (None, 32, "auto", False)
    assert found.workers >= 1


def test_open_named_model__opens_a_folder_and_what_a_run_has_written(tiny_model_folder: Path, tmp_path: Path) -> None:
    assert open_named_model(parsed(tiny_model_folder, "--device", "cpu")).folder == tiny_model_folder
    run = tmp_path / "run"
    shutil.copytree(tiny_model_folder, run / "output")
    (run / "configuration.json").write_text("{}")
    assert open_named_model(parsed(run)).folder == run / "output"


def test_open_named_model__refuses_a_device_that_is_not_there(tiny_model_folder: Path) -> None:
    with pytest.raises(SettingsError, match="'cuda:99'"):
        open_named_model(parsed(tiny_model_folder, "--device", "cuda:99"))
