"""Opens an exported folder as a model folder is opened, so that whatever classifies pictures takes either."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelscope_beit import names
from modelscope_beit.errors import ExportError, ImageError, SettingsError, UntrustedCodeError
from modelscope_beit.export.certificate import Certificate, read_certificate
from modelscope_beit.export.preprocessing import steps_of_data
from modelscope_beit.export.runtimes import Session, open_session
from modelscope_beit.export.targets import CERTIFICATE_FILE, PREPROCESSING_FILE
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.model_folder.label_files import read_labels
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.settings.any_model import AnyModelSettings, collect_any_model
from modelscope_beit.settings.confidence import Confidence, read_confidence
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.preprocessing import Step
from modelscope_beit.settings.problems import Problems, Section


class ExportedNetwork(Classifier):
    """An exported file as a network: it has no weights here, and answers on the processor.

    size: (height, width) of the pictures that its graph takes; None: any.
    """

    def __init__(
        self, settings: AnyModelSettings, session: Session, size: tuple[int, int] | None, *, is_multi_label: bool
    ) -> None:
        super().__init__()
        self.settings = settings
        self.is_multi_label = is_multi_label
        self._session = session
        self._size = size
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W), float, normalised; raises ImageError for another size."""
        size = tuple(images.shape[2:])
        if self._size is not None and size != self._size:
            raise ImageError(
                f"The exported network takes pictures of {self._size[0]}x{self._size[1]} pixels, but one of "
                f"{size[0]}x{size[1]} came."
            )
        return torch.from_numpy(self._session(images.numpy()))


@dataclass(frozen=True)
class Preparation:
    """What preprocessing.json says: the steps to the network's input, and what its logits are.

    confidence: temperature and threshold; None where the model was not calibrated.
    """

    steps: tuple[Step, ...]
    is_multi_label: bool
    confidence: Confidence | None = None


def exported_folder(path: Path) -> Path | None:
    """Returns the exported folder that a path names, itself or by a file in it; None for anything else."""
    folder = path.parent if path.is_file() else path
    return folder if (folder / CERTIFICATE_FILE).is_file() else None


def open_model_or_export(path: Path, *, device: str = "cpu", trust_remote_code: bool = False) -> OpenedModel:
    """Returns the model of a model folder, an exported folder, or a file in that one.

    device: of a network; exported ones run on the processor. Raises as open_model and open_exported do.
    """
    folder = exported_folder(path)
    if folder is None:
        return open_model(path, device=device, trust_remote_code=trust_remote_code)
    if device != "cpu":
        raise SettingsError(f"{folder} is an exported network, which runs on the processor, not on {device!r}.")
    return open_exported(folder, trust_remote_code=trust_remote_code)


def open_exported(folder: Path, *, trust_remote_code: bool = False) -> OpenedModel:
    """Returns an exported folder as a model whose network runs in the runtime that the file is for.

    trust_remote_code: allows formats of torch, whose files can run code.
    Raises ExportError if the folder cannot be used, UntrustedCodeError without trust, MissingPackageError without the
    runtime. Digests are not checked; export.verifying does that.
    """
    certificate = read_certificate(folder)
    check_trust(certificate, folder, trust_remote_code=trust_remote_code)
    preparation = read_preparation(folder)
    settings = FolderSettings(model=_read_settings(certificate, folder), preprocessing=preparation.steps)
    target = certificate.target
    network = ExportedNetwork(
        settings.model,
        open_session(target.runtimes[0], folder / target.file),
        certificate.size,
        is_multi_label=preparation.is_multi_label,
    )
    return OpenedModel(
        folder=folder,
        settings=settings,
        network=network,
        class_names=read_labels(folder / names.CLASS_NAMES_FILE, num_classes=certificate.num_classes),
        transform=EvaluationTransform(preparation.steps),
        confidence=preparation.confidence,
    )


def check_trust(certificate: Certificate, folder: Path, *, trust_remote_code: bool) -> None:
    """Raises UntrustedCodeError if opening the file could run code and there is no trust."""
    target = certificate.target
    if target.runs_code and not trust_remote_code:
        raise UntrustedCodeError(
            f"{folder / target.file} is of a format of torch ({certificate.to}) whose files can run code when they are "
            "opened. If you trust where it comes from, pass trust_remote_code=True (--trust-remote-code); ONNX and "
            "OpenVINO files need no trust."
        )


def read_preparation(folder: Path) -> Preparation:
    """Returns what preprocessing.json says; raises ExportError if it cannot be used, SettingsError for "confidence"."""
    file = folder / PREPROCESSING_FILE
    try:
        content: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        steps, softmax = content["steps"], content["softmax"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(f"{file} must say how pictures are prepared, but cannot be read: {error!r}") from error
    problems = Problems()
    confidence = read_confidence(Section(content, "", problems))
    problems.raise_if_any(str(file))
    return Preparation(steps_of_data(steps, str(file)), is_multi_label=not softmax, confidence=confidence)


def _read_settings(certificate: Certificate, folder: Path) -> AnyModelSettings:
    problems = Problems()
    settings = collect_any_model(certificate.mm_model, "mm_model", problems)
    where = str(folder / CERTIFICATE_FILE)
    problems.raise_if_any(where)
    if settings is None:
        raise SettingsError(f"{where} must describe the network under mm_model, but has {certificate.mm_model!r:.200}.")
    return settings
