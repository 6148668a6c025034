"""Checks an exported folder anywhere, without the model that it was made of."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.errors import ExportError, ImageError, MissingPackageError, SettingsError
from modelscope_beit.export.certificate import Certificate, read_certificate
from modelscope_beit.export.comparing import Measured, measure
from modelscope_beit.export.golden import Golden, read_golden, transformed, with_scores
from modelscope_beit.export.opening import check_trust, exported_folder, read_preparation
from modelscope_beit.export.runtimes import open_session
from modelscope_beit.export.targets import CERTIFICATE_FILE, GOLDEN_FILE, PICTURES_FOLDER, PREPROCESSING_FILE
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.settings.preprocessing import Normalize

# Versions of Pillow may round a pixel in another way.
_LARGEST_PIXEL_DIFFERENCE = 1.0
# They are made of the same numbers in float64, and rounded to float32.
_LARGEST_SCORE_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. is_right: None where it could not be looked at."""

    name: str
    finding: str
    is_right: bool | None


def verify(path: Path, *, trust_remote_code: bool = False) -> list[Check]:
    """Returns what was checked: digests, pixels, and the answers of every runtime that is installed.

    path: an exported folder, or a file in it. trust_remote_code: allows formats of torch, whose files can run code; a
    file of these is not opened if its digest is wrong.
    Raises ExportError if there is no certificate, UntrustedCodeError without trust, MissingPackageError if not one
    runtime is installed.
    """
    folder = exported_folder(path)
    if folder is None:
        where = path.parent if path.is_file() else path
        reason = f"There is no {CERTIFICATE_FILE} in {where}" if where.is_dir() else f"There is no folder {path}"
        raise ExportError(
            f"{reason}, so there is nothing to check against. {names.COMMAND} export writes it; copy the whole folder."
        )
    certificate = read_certificate(folder)
    check_trust(certificate, folder, trust_remote_code=trust_remote_code)
    checks = _check_files(certificate, folder)
    is_changed = any(check.name == certificate.target.file for check in checks)
    try:
        golden = read_golden(folder / GOLDEN_FILE)
        checks.append(_check_pixels(folder, golden))
        checks += _check_scores(folder, golden)
    except (ExportError, SettingsError) as error:
        return [*checks, Check("golden pictures", str(error), is_right=False)]
    if is_changed and certificate.target.runs_code:
        return [*checks, Check("runtimes", "not run: the file was changed, and opening it could run code", None)]
    return checks + _check_runtimes(certificate, folder, golden)


def _check_files(certificate: Certificate, folder: Path) -> list[Check]:
    """Returns a check for each file that is not what was certified, or one for all."""
    wrong = []
    for name, digest in certificate.files.items():
        file = folder / name
        if not file.is_file():
            wrong.append(Check(name, "is missing", is_right=False))
        elif (found := file_digest(file)) != digest:
            wrong.append(Check(name, f"was changed: its digest is {found}, not {digest}", is_right=False))
    right = len(certificate.files) - len(wrong)
    return [*wrong, Check("files", f"{right} of {len(certificate.files)} have the certified digest", not wrong)]


def _check_pixels(folder: Path, golden: Golden) -> Check:
    """Prepares the pictures as preprocessing.json says, and compares with the golden inputs."""
    preparation = read_preparation(folder)
    pictures = [folder / PICTURES_FOLDER / name for name in golden.pictures]
    try:
        images = transformed(EvaluationTransform(preparation.steps), pictures)
    except (ImageError, MissingPackageError) as error:
        return Check("pixels", str(error), is_right=False)
    if images.shape != golden.images.shape:
        return Check("pixels", f"have the shape {images.shape}, not {golden.images.shape}", is_right=False)
    (normalize,) = [step for step in preparation.steps if isinstance(step, Normalize)]
    differences = np.abs(images - golden.images).max(axis=(0, 2, 3)) * np.array(normalize.std)
    largest = float(differences.max())
    finding = f"differ by at most {largest:.2g} of 255" if largest else f"of {len(images)} pictures are equal"
    return Check("pixels", finding, largest <= _LARGEST_PIXEL_DIFFERENCE)


def _check_scores(folder: Path, golden: Golden) -> list[Check]:
    """Makes scores of the golden logits as preprocessing.json says, and compares with the golden ones, if any."""
    preparation = read_preparation(folder)
    confidence = preparation.confidence
    if confidence is None and not len(golden.scores):
        return []
    if confidence is None or not len(golden.scores):
        where, other = PREPROCESSING_FILE, GOLDEN_FILE
        if confidence is not None:
            where, other = other, where
        finding = f"{other} is of a calibrated network, but {where} says nothing of its scores"
        return [Check("scores", finding, is_right=False)]
    found = with_scores(golden, confidence, is_multi_label=preparation.is_multi_label)
    largest = float(np.abs(found.scores - golden.scores).max())
    are_same = bool((found.are_unknown == golden.are_unknown).all())
    finding = (
        f"at temperature {confidence.temperature:.4g} differ by at most {largest:.1e}; {golden.are_unknown.sum()} of "
        f"{len(golden.scores)} pictures are unknown, {'the same ones' if are_same else 'but here others'}"
    )
    return [Check("scores", finding, largest <= _LARGEST_SCORE_DIFFERENCE and are_same)]


def _check_runtimes(certificate: Certificate, folder: Path, golden: Golden) -> list[Check]:
    checks, missing = [], []
    for runtime in certificate.target.runtimes:
        try:
            session = open_session(runtime, folder / certificate.target.file)
            checks += [_judged(one, certificate) for one in measure(runtime, session, golden)]
        except MissingPackageError as error:
            missing.append(error)
            checks.append(Check(runtime, "not run: it is not installed", None))
        except ExportError as error:
            checks.append(Check(runtime, str(error), is_right=False))
    if len(missing) == len(certificate.target.runtimes):
        raise missing[0]
    return checks


def _judged(found: Measured, certificate: Certificate) -> Check:
    certified = [one for one in certificate.measured if (one.runtime, one.size) == (found.runtime, found.size)]
    then = "".join(f" (certified: {one.largest_difference:.1e} with {one.version})" for one in certified)
    place = f" at {found.size[0]}x{found.size[1]}" if certificate.size is None else ""
    finding = (
        f"logits differ by at most {found.largest_difference:.1e}{then}, {found.agreement:.1%} of {found.pictures} "
        f"best classes are the same; {certificate.limits.tolerance:.1e} is let pass"
    )
    return Check(f"{found.runtime} {found.version}{place}", finding, found.is_within(certificate.limits))
