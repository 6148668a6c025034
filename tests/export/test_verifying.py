import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.errors import ExportError, MissingPackageError, UntrustedCodeError
from modelscope_beit.export.verifying import Check, verify


def verdicts(checks: list[Check]) -> dict[str, bool | None]:
    """Returns name -> verdict; versions of runtimes are cut off."""
    return {check.name.split()[0]: check.is_right for check in checks}


def certify_again(folder: Path, *names: str) -> None:
    """Makes the digests right again, as somebody would who wants to hide a change."""
    file = folder / "certificate.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["files"] |= {name: file_digest(folder / name) for name in names}
    file.write_text(json.dumps(content))


def test_verify__all_right(tiny_onnx) -> None:
    right = {"files": True, "pixels": True, "onnxruntime": True, "openvino": True}
    assert verdicts(verify(tiny_onnx)) == verdicts(verify(tiny_onnx / "model.onnx")) == right


def test_verify__corrupted_file(tiny_onnx) -> None:
    file = tiny_onnx / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1000])
    checks = verify(tiny_onnx)
    assert verdicts(checks) == {
        "model.onnx": False,
        "files": False,
        "pixels": True,
        "onnxruntime": False,
        "openvino": False,
    }
    assert any("cannot be opened by onnxruntime" in check.finding for check in checks)


def test_verify__changed_weight_even_with_the_digest_made_right(tiny_onnx) -> None:
    file = tiny_onnx / "model.onnx"
    model = onnx.load(file)
    (head,) = [one for one in model.graph.initializer if list(one.dims) == [5, 32]]
    weight = onnx.numpy_helper.to_array(head).copy()
    weight[2, 7] += 0.5
    head.CopyFrom(onnx.numpy_helper.from_array(weight, head.name))
    onnx.save(model, file)
    assert verdicts(verify(tiny_onnx))["model.onnx"] is False
    certify_again(tiny_onnx, "model.onnx")
    found = verdicts(verify(tiny_onnx))
    assert found == {"files": True, "pixels": True, "onnxruntime": False, "openvino": False}


def test_verify__changed_preprocessing(tiny_onnx) -> None:
    file = tiny_onnx / "preprocessing.json"
    file.write_text(file.read_text().replace("bicubic", "bilinear"))
    certify_again(tiny_onnx, "preprocessing.json")
    assert verdicts(verify(tiny_onnx))["pixels"] is False


def test_verify__one_grey_level_is_let_pass(tiny_onnx) -> None:
    """Of another Pillow, for instance."""
    file = tiny_onnx / "golden.npz"
    with np.load(file) as arrays:
        changed = dict(arrays)
    changed["images"][0, 1, 2, 3] += 0.9 / 57.12
    np.savez_compressed(file, **changed)
    certify_again(tiny_onnx, "golden.npz")
    (pixels,) = [check for check in verify(tiny_onnx) if check.name == "pixels"]
    assert pixels.is_right and "differ by at most 0.9 of 255" in pixels.finding


def test_verify__missing_files(tiny_onnx) -> None:
    shutil.rmtree(tiny_onnx / "pictures")
    (tiny_onnx / "classname.txt").unlink()
    found = verdicts(verify(tiny_onnx))
    assert found["classname.txt"] is False and found["pixels"] is False and found["onnxruntime"] is True
    (tiny_onnx / "golden.npz").unlink()
    assert verdicts(verify(tiny_onnx))["golden"] is False


def test_verify__a_missing_runtime_is_named(tiny_onnx, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert verdicts(verify(tiny_onnx)) == {"files": True, "pixels": True, "onnxruntime": True, "openvino": None}


def test_verify__no_runtime_at_all(tiny_onnx, monkeypatch) -> None:
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match="onnxruntime is needed"):
        verify(tiny_onnx)


def test_verify__what_can_run_code_needs_trust_and_its_digest(tiny_torchscript) -> None:
    with pytest.raises(UntrustedCodeError, match="trust_remote_code"):
        verify(tiny_torchscript)
    assert verdicts(verify(tiny_torchscript, trust_remote_code=True))["torch.jit"] is True
    with (tiny_torchscript / "model.ts").open("ab") as file:
        file.write(b"more")
    found = verdicts(verify(tiny_torchscript, trust_remote_code=True))
    assert found == {"model.ts": False, "files": False, "pixels": True, "runtimes": None}


def test_verify__without_a_certificate(tmp_path) -> None:
    with pytest.raises(ExportError, match=r"no certificate\.json in .*copy the whole folder"):
        verify(tmp_path)
    with pytest.raises(ExportError, match="There is no folder .*nowhere"):
        verify(tmp_path / "nowhere")


def test_verify__scores_of_a_calibrated_model(calibrated_onnx) -> None:
    (check,) = [one for one in verify(calibrated_onnx) if one.name == "scores"]
    assert check.is_right and "at temperature 0.4" in check.finding and "the same ones" in check.finding


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"temperature": 0.5}, "at temperature 0.5 differ by at most"),
        ({"unknown_below": -100.0}, "but here others"),
        ({"temperature": -1}, "confidence.temperature is -1"),
        (None, "golden.npz is of a calibrated network, but preprocessing.json says nothing"),
    ],
)
def test_verify__changed_confidence_even_with_the_digest_made_right(calibrated_onnx, tmp_path, change, told) -> None:
    folder = Path(shutil.copytree(calibrated_onnx, tmp_path / "onnx"))
    file = folder / "preprocessing.json"
    content = json.loads(file.read_text())
    if change is None:
        del content["confidence"]
    else:
        content["confidence"] |= change
    file.write_text(json.dumps(content))
    assert verdicts(verify(folder))["preprocessing.json"] is False
    certify_again(folder, "preprocessing.json")
    wrong = [check for check in verify(folder) if check.is_right is False]
    assert len(wrong) == 1 and told in wrong[0].finding
