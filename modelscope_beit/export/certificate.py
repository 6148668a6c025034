"""The certificate of an exported folder: what was exported of what, how well each runtime answers, and all digests."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.errors import ExportError
from modelscope_beit.export.comparing import Limits, Measured
from modelscope_beit.export.targets import CERTIFICATE_FILE, READABLE_CERTIFICATE_FILE, TARGETS, Target

_PACKAGES = (
    names.DISTRIBUTION,
    *("torch", "numpy", "pillow", "onnx", "onnxscript", "onnxruntime", "openvino", "timm", "mmcls"),
)
_CERTIFICATES = (CERTIFICATE_FILE, READABLE_CERTIFICATE_FILE)


@dataclass(frozen=True)
class Certificate:
    """What is certified.

    to: a key of TARGETS. opset: None where there is none. title: the network in one line. mm_model: the network in the
        hub's words. size: (height, width) of the pictures; None: any.
    source: name -> text about the weights: their file and its digest. files: path -> "sha256:...", of all files but
        the certificate's own. date: ISO 8601, UTC. notes: what to know first.
    """

    to: str
    precision: str
    opset: int | None
    title: str
    mm_model: dict[str, Any]
    num_classes: int
    size: tuple[int, int] | None
    source: dict[str, str]
    limits: Limits
    measured: tuple[Measured, ...]
    files: dict[str, str]
    date: str
    command: str
    versions: dict[str, str]
    machine: str
    notes: tuple[str, ...] = field(default=())

    @property
    def target(self) -> Target:
        """The target's file, runtimes and precisions."""
        return TARGETS[self.to]

    def in_words(self) -> dict[str, str]:
        """Returns heading -> text, in the order in which a person reads it."""
        opset = "" if self.opset is None else f", opset {self.opset}"
        size = "any size" if self.size is None else f"{self.size[0]}x{self.size[1]} pixels"
        facts = {
            "what": self.title,
            "file": f"{self.target.file}, {self.to} in {self.precision}{opset}",
            "digest": self.files[self.target.file],
            "input": f"any number of pictures of {size}",
            "classes": str(self.num_classes),
            "weights": ", ".join(self.source.values()),
        }
        for one in self.measured:
            place = "" if one.size == self.size else f" at {one.size[0]}x{one.size[1]}"
            facts[f"{one.runtime}{place}"] = (
                f"logits differ by at most {one.largest_difference:.1e} from the network's in float32, "
                f"{one.agreement:.1%} of {one.pictures} best classes are the same"
            )
        facts["let pass"] = self._limits_in_words()
        facts |= {"made": f"{self.date} by: {self.command}", "on": self.machine}
        facts["versions"] = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return facts | ({"note": "\n".join(self.notes)} if self.notes else {})

    def as_json(self) -> dict[str, Any]:
        """Returns the same for programs, as certificate.json has it."""
        return asdict(self)

    def _limits_in_words(self) -> str:
        agreement = f", {self.limits.least_agreement:.0%} of best classes" if self.limits.least_agreement else ""
        return f"{self.limits.tolerance:.1e} of a logit{agreement}"


def write_certificate(certificate: Certificate, folder: Path) -> None:
    """Writes certificate.json, and certificate.md for people."""
    text = json.dumps(certificate.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / CERTIFICATE_FILE).write_text(f"{text}\n", encoding="utf-8")
    rows = [f"| {name} | {_cell(value)} |" for name, value in certificate.in_words().items()]
    page = [
        "# Certificate of an exported network",
        "",
        "| | |",
        "| --- | --- |",
        *rows,
        "",
        f"The files below belong to it. `{names.COMMAND} verify THIS_FOLDER` checks their digests, and runs the golden",
        "pictures again in every runtime that is installed.",
        "",
        "| file | |",
        "| --- | --- |",
        *(f"| {name} | {digest} |" for name, digest in certificate.files.items()),
        "",
    ]
    (folder / READABLE_CERTIFICATE_FILE).write_text("\n".join(page), encoding="utf-8")


def read_certificate(folder: Path) -> Certificate:
    """Returns the certificate of a folder; raises ExportError if there is none or it cannot be used."""
    file = folder / CERTIFICATE_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        certificate = Certificate(**content | _read_parts(content))
        if certificate.target.file not in certificate.files:
            raise ValueError(f"it has no digest of {certificate.target.file}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(
            f"{file} must be the certificate of an exported network, but cannot be read as one "
            f"({type(error).__name__}: {error}). Export the network again, or copy the whole folder."
        ) from error
    return certificate


def digests(folder: Path) -> dict[str, str]:
    """Returns path -> digest of all files in a folder, in depth, but for the certificate's own."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: file_digest(path) for name, path in named.items() if name not in _CERTIFICATES}


def installed_versions() -> dict[str, str]:
    """Returns package -> version of everything here that may have a part in the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            # Most are extras.
            continue
    return found


def this_machine() -> str:
    """Returns kind of processor and system, without its name."""
    return f"{platform.machine()}, {platform.system()}"


def _read_parts(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "size": None if content["size"] is None else tuple(content["size"]),
        "limits": Limits(**content["limits"]),
        "measured": tuple(Measured(**one | {"size": tuple(one["size"])}) for one in content["measured"]),
        "notes": tuple(content["notes"]),
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
