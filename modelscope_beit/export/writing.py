"""Writes an exported folder: the network's file and all that is needed to use, check and trust it; or nothing."""

import json
import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.errors import ExportError, MissingPackageError
from modelscope_beit.export.certificate import Certificate, digests, installed_versions, this_machine, write_certificate
from modelscope_beit.export.comparing import Limits, Measured, limits_for, measure
from modelscope_beit.export.golden import Golden, make_golden, transformed, with_scores, write_golden
from modelscope_beit.export.graph import check_dynamic_size, exported_program, graph_module
from modelscope_beit.export.preprocessing import steps_as_data, why_not_scripted
from modelscope_beit.export.runtimes import open_session
from modelscope_beit.export.targets import (
    GOLDEN_FILE,
    INPUT_NAME,
    OUTPUT_NAME,
    PICTURES_FOLDER,
    PREPROCESSING_FILE,
    SCRIPT_FILE,
    TARGETS,
    ExportRequest,
)
from modelscope_beit.export.write_onnx import quantize_onnx, write_onnx
from modelscope_beit.export.write_openvino import write_openvino
from modelscope_beit.export.write_torch import write_compiled, write_program, write_torchscript
from modelscope_beit.model_folder.card import architecture_in_words
from modelscope_beit.model_folder.label_files import write_labels
from modelscope_beit.model_folder.opening import OpenedModel, find_weight_file
from modelscope_beit.model_folder.writing import check_target, written_as_a_whole
from modelscope_beit.settings.any_model import write_any_model
from modelscope_beit.settings.confidence import CONFIDENCE, write_confidence

# Beside the package, where Python imports nothing of it: a script of its own.
_SCRIPT = Path(__file__).with_name(SCRIPT_FILE)
# What torch needs to see to keep the number of pictures open.
_TRACED_PICTURES = 2


@dataclass(frozen=True)
class _Work:
    """What the parts of an export share."""

    model: OpenedModel
    request: ExportRequest
    golden: Golden
    limits: Limits
    steps: list[dict[str, Any]]

    @property
    def traced(self) -> Tensor:
        return torch.from_numpy(self.golden.images[:_TRACED_PICTURES])


def export_model(model: OpenedModel, folder: Path, request: ExportRequest) -> Certificate:
    """Writes an exported folder and returns its certificate.

    model: on the processor, in float32; it stays as it is. folder: a new one.
    The golden pictures run in every runtime for the target that is installed; nothing is written unless all of them
    answer as the network does. Raises ExportError if they do not, SettingsError for what cannot be exported,
    ModelFolderError if the folder may not be written, MissingPackageError if the target needs a package.
    """
    folder = folder.expanduser().absolute()
    check_target(folder, overwrite=False)
    steps = steps_as_data(model.settings.preprocessing)
    if request.dynamic_size:
        check_dynamic_size(model.network)
    golden = make_golden(model.network, model.transform, dynamic_size=request.dynamic_size)
    if model.confidence is not None:
        golden = with_scores(golden, model.confidence, is_multi_label=model.network.is_multi_label)
    limits = limits_for(golden, request.precision, request.tolerance)
    work = _Work(model, request, golden, limits, steps)
    with written_as_a_whole(folder) as unfinished:
        file = unfinished / TARGETS[request.to].file
        _write_graph(work, file)
        measured = _measured(work, file)
        _write_companions(work, unfinished)
        certificate = _certificate(work, measured, unfinished)
        write_certificate(certificate, unfinished)
    return certificate


def _write_graph(work: _Work, file: Path) -> None:
    request = work.request
    # OpenVINO is given float32 and makes its own float16 of it.
    half = request.precision == "fp16" and request.to != "openvino"
    module = graph_module(work.model.network, half=half, for_openvino=request.to == "openvino")
    if request.to == "torchscript":
        write_torchscript(module, file, work.traced)
        return
    program = exported_program(module, work.traced, dynamic_size=request.dynamic_size)
    if request.to == "torch-export":
        write_program(program, file)
    elif request.to == "aotinductor":
        write_compiled(program, file)
    else:
        with TemporaryDirectory() as folder:
            _write_from_onnx(work, program, Path(folder), file)


def _write_from_onnx(work: _Work, program: torch.export.ExportedProgram, scratch: Path, file: Path) -> None:
    request = work.request
    direct = request.to == "onnx" and request.precision != "int8"
    source = file if direct else scratch / "float.onnx"
    write_onnx(program, source, opset=request.opset, dynamic_size=request.dynamic_size)
    if request.precision == "int8":
        quantized = file if request.to == "onnx" else scratch / "int8.onnx"
        calibration = work.golden.images
        if request.calibration:
            calibration = transformed(work.model.transform, request.calibration)
        quantize_onnx(source, quantized, list(calibration))
        source = quantized
    if request.to == "openvino":
        write_openvino(source, file, half=request.precision == "fp16")


def _measured(work: _Work, file: Path) -> tuple[Measured, ...]:
    """Runs the golden pictures in every runtime that is there; raises ExportError if one answers something else."""
    found: list[Measured] = []
    for number, runtime in enumerate(TARGETS[work.request.to].runtimes):
        try:
            session = open_session(runtime, file)
        except MissingPackageError:
            # The first one is what the target is for; a second one is a bonus.
            if number == 0:
                raise
            continue
        found += measure(runtime, session, work.golden)
    wrong = [one for one in found if not one.is_within(work.limits)]
    if wrong:
        raise ExportError(_refusal(work, wrong))
    return tuple(found)


def _refusal(work: _Work, wrong: list[Measured]) -> str:
    limits = work.limits
    told = "; ".join(
        f"{one.runtime}'s logits differ by up to {one.largest_difference:.2g} and {one.agreement:.0%} of the best "
        f"classes are the same"
        for one in wrong
    )
    least = f" and {limits.least_agreement:.0%} of the best classes" if limits.least_agreement else ""
    advice = (
        "Calibrate with pictures such as the network is for (--calibration DATA), or take --fp16."
        if work.request.precision == "int8"
        else "Please report it, with the versions of torch and the runtime."
    )
    return (
        f"The exported network does not answer as the network does in float32: {told}, but differences up to "
        f"{limits.tolerance:.2g}{least} are let pass. Nothing was written. {advice} A larger --tolerance lets it pass."
    )


def _write_companions(work: _Work, folder: Path) -> None:
    """Writes preprocessing, class names, golden set and, beside an ONNX file, the script."""
    request, images = work.request, work.golden.images
    height, width = images.shape[2:]
    sides = ["height", "width"] if request.dynamic_size else [height, width]
    about = {
        "input": {"name": INPUT_NAME, "type": "float32", "shape": ["batch", images.shape[1], *sides]},
        "steps": work.steps,
        "output": {"name": OUTPUT_NAME, "type": "float32", "shape": ["batch", len(work.model.class_names)]},
        # Otherwise each class has a sigmoid of its own.
        "softmax": not work.model.network.is_multi_label,
    }
    if (confidence := work.model.confidence) is not None:
        about[CONFIDENCE] = write_confidence(confidence)
    text = json.dumps(about, indent=2, ensure_ascii=False)
    (folder / PREPROCESSING_FILE).write_text(f"{text}\n", encoding="utf-8")
    write_labels(work.model.class_names, folder / names.CLASS_NAMES_FILE)
    write_golden(work.golden, folder / GOLDEN_FILE, folder / PICTURES_FOLDER)
    if request.to == "onnx" and why_not_scripted(work.steps) is None:
        shutil.copyfile(_SCRIPT, folder / SCRIPT_FILE)


def _certificate(work: _Work, measured: tuple[Measured, ...], folder: Path) -> Certificate:
    model, request = work.model, work.request
    weights = find_weight_file(model.folder)
    height, width = work.golden.images.shape[2:]
    return Certificate(
        to=request.to,
        precision=request.precision,
        opset=request.opset if request.to in ("onnx", "openvino") else None,
        title=architecture_in_words(model.settings.model),
        mm_model=write_any_model(model.settings.model),
        num_classes=len(model.class_names),
        size=None if request.dynamic_size else (height, width),
        source={"weights": weights.name, "digest": file_digest(weights)},
        limits=work.limits,
        measured=measured,
        files=digests(folder),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=request.command,
        versions=installed_versions(),
        machine=this_machine(),
        notes=tuple(_notes(work)),
    )


def _notes(work: _Work) -> list[str]:
    request, notes = work.request, []
    if request.precision == "int8" and request.calibration:
        notes.append(f"The ranges of 8-bit integers come from {len(request.calibration)} given pictures.")
    elif request.precision == "int8":
        notes.append(
            "The ranges of 8-bit integers come from the pictures beside this page, small grey garments. For another "
            "kind of picture, calibrate with some of that kind (--calibration DATA)."
        )
    if (confidence := work.model.confidence) is not None:
        score, known = "softmax", "log(sum(exp(logits)))"
        if work.model.network.is_multi_label:
            score, known = "sigmoid", "sum(log(1 + exp(logits)))"
        notes.append(
            f"The file gives logits. Scores are {score}(logits / {confidence.temperature:.6g}); where {known} is below "
            f"{confidence.unknown_below:.6g}, the picture is of none of the classes. {PREPROCESSING_FILE} has both."
        )
    if request.to == "onnx" and (reason := why_not_scripted(work.steps)):
        notes.append(f"There is no {SCRIPT_FILE}, because it would have to know {reason}.")
    if request.to == "aotinductor":
        notes.append("The file holds machine code; it runs on processors that know all instructions of this one.")
    if TARGETS[request.to].runs_code:
        notes.append("Opening the file can run code: do it only if you trust where it comes from.")
    return notes
