import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.export.targets import ExportRequest


@pytest.mark.parametrize(
    ("arguments", "culprits"),
    [
        ({"to": "tflite"}, ["'tflite'", "onnx, openvino"]),
        ({"to": "torchscript", "precision": "int8"}, ["torchscript is written in fp32, fp16, not in int8"]),
        ({"to": "onnx", "opset": 13}, ["at least 18, not 13"]),
        ({"to": "onnx", "calibration": ["a.jpg"]}, ["for int8, but the precision is fp32"]),
        ({"to": "onnx", "opset": 7, "tolerance": 0.0}, ["not 7", "above 0, not 0.0"]),
        ({"to": "onnx", "tolerance": float("nan")}, ["above 0, not nan"]),
    ],
)
def test_request__tells_everything_that_cannot_be_asked_for(arguments: dict, culprits: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        ExportRequest(**arguments)
    assert all(culprit in str(caught.value) for culprit in culprits)


def test_request__takes_what_can_be() -> None:
    request = ExportRequest("onnx", "int8", dynamic_size=True, opset=21, calibration=["a.jpg"], tolerance=0.5)
    assert (request.opset, request.precision) == (21, "int8")
