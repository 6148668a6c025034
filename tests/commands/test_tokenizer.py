"""beit tokenizer: from pictures to a file that the second stage opens."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modelscope_beit.__main__ import main
from modelscope_beit.pretraining.tokenizer_files import open_tokenizer

SMALL = [
    "--teacher", "embedded", "--image-size", "32", "--patch-size", "8", "--codes", "16", "--epochs", "2",
    "--batch-size", "4", "--workers", "0", "--device", "cpu", "--precision", "fp32", "--set", "tokenizer.width=32",
    "--set", "tokenizer.num_heads=2", "--set", "tokenizer.mlp_hidden=64", "--set", "tokenizer.encoder_depth=1",
    "--set", "tokenizer.decoder_depth=1",
]  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path, photographs: tuple[Image.Image, ...]) -> Path:
    folder = tmp_path / "pictures"
    (folder / "any" / "depth").mkdir(parents=True)
    for number in range(20):
        part = photographs[number % 2].crop((25 * number, 10 * number, 25 * number + 64, 10 * number + 48))
        part.save(folder / "any" / "depth" / f"{number}.jpg")
    return folder


def run_tokenizer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = main(["tokenizer", *map(str, arguments), *SMALL, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_tokenizer__trains_with_kept_features_and_tells(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kept = tmp_path / "run", tmp_path / "kept"
    status, told = run_tokenizer(capsys, pictures, "--out", out, "--fixed-crops", "--features", kept)
    assert status == (0 if told["goes_on"] else 4)
    assert told["files"] == [str(out / "output" / "tokenizer.pth")]
    tokenizer = open_tokenizer(out)
    assert tokenizer.settings.target_width == 128 and tokenizer.settings.codebook.num_codes == 16
    assert 0 < told["gauges"]["codes_used"] <= 16
    (features,) = kept.rglob("*.features")
    # 20 crops, 16 patches, 128 numbers of two bytes.
    assert features.stat().st_size == 20 * 16 * 128 * 2
    written = json.loads((out / "configuration.json").read_text())
    assert written["stage"] == "tokenizer" and written["teacher"] == "embedded"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--features", "kept"], "for fixed crops only"),
        (["--teacher", "transformers:"], "needs a name or a folder"),
        (["--set", "tokenizer.target_width=77"], "tokenizer.target_width is 77"),
        (["--set", "tokenizer.codebok.decay=0.9"], "did you mean codebook?"),
    ],
)
def test_tokenizer__refuses_before_the_first_step(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert main(["tokenizer", str(pictures), *SMALL, "--out", str(tmp_path / "run"), *options]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_tokenizer__help_needs_no_torch() -> None:
    code = "import sys; from modelscope_beit.commands import tokenizer; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
