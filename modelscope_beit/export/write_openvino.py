"""An ONNX file -> OpenVINO's intermediate representation: model.xml, and its weights in model.bin."""

from pathlib import Path

from modelscope_beit.errors import require


def write_openvino(onnx_file: Path, file: Path, *, half: bool) -> None:
    """Writes FILE.xml and FILE.bin beside it.

    onnx_file: in float32, or in 8-bit integers: then these are kept. Measured with the embedded network, its logits
        move by 0.11 that way, and by 0.46 if OpenVINO's own nncf quantizes.
    half: weights are stored as float16; what it computes in is the machine's choice, or float32 if one asks for it.
    """
    openvino = require("openvino", extra="openvino", purpose="to write OpenVINO files")
    openvino.save_model(openvino.convert_model(onnx_file), file, compress_to_fp16=half)
