import json
from dataclasses import replace

import pytest

from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.errors import ExportError
from modelscope_beit.export.certificate import digests, installed_versions, read_certificate, write_certificate
from modelscope_beit.export.comparing import Limits, Measured


def test_certificate__is_read_as_it_was_written(exported, tmp_path) -> None:
    certificate = read_certificate(exported("tiny", "torchscript"))
    changed = replace(
        certificate,
        size=None,
        limits=Limits(0.25, 0.0),
        measured=(Measured("torch.jit", "2.15", (32, 64), 4, 0.125, 0.75),),
        notes=("one", "中文"),
    )
    write_certificate(changed, tmp_path)
    assert read_certificate(tmp_path) == changed


def test_certificate__tells_a_person_what_was_measured(exported, tiny_model) -> None:
    folder = exported("tiny", "torchscript")
    page = (folder / "certificate.md").read_text(encoding="utf-8")
    certificate = read_certificate(folder)
    digest = file_digest(folder / "model.ts")
    (measured,) = certificate.measured
    for part in (
        f"model.ts, torchscript in fp32 | \n| digest | {digest}".split(" | \n")[0],
        digest,
        file_digest(tiny_model.folder / "pytorch_model.pt"),
        f"at most {measured.largest_difference:.1e}",
        "100.0% of 20 best classes",
        f"torch {installed_versions()['torch']}",
        "beit verify",
    ):
        assert part in page


def test_digests__are_of_all_files_but_the_certificates(exported) -> None:
    folder = exported("tiny", "torchscript")
    found = digests(folder)
    assert {"model.ts", "golden.npz", "preprocessing.json", "classname.txt", "pictures/bag_00018.png"} <= found.keys()
    assert not {"certificate.json", "certificate.md"} & found.keys()
    assert found == read_certificate(folder).files


@pytest.mark.parametrize(
    "break_it",
    [
        lambda content: content.pop("limits"),
        lambda content: content["files"].pop("model.ts"),
        lambda content: content.update(to="tflite"),
        lambda content: content.update(surprise=1),
        lambda content: content["measured"][0].pop("agreement"),
    ],
)
def test_read_certificate__refuses_what_is_none(break_it, tiny_torchscript) -> None:
    file = tiny_torchscript / "certificate.json"
    content = json.loads(file.read_text())
    break_it(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ExportError, match=r"certificate\.json must be the certificate"):
        read_certificate(tiny_torchscript)


def test_read_certificate__truncated(tiny_torchscript) -> None:
    file = tiny_torchscript / "certificate.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(ExportError, match="JSONDecodeError"):
        read_certificate(tiny_torchscript)
