import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.inference import InferenceSettings


def test_settings__tells_every_problem_at_once() -> None:
    with pytest.raises(SettingsError, match="precision is one of fp32.*not 'fp8'.*backend is one of torch.*not 'tpu'"):
        InferenceSettings("fp8", "tpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16", "backend": "openvino"}, "openvino runs fp32, bf16, int8 here, not fp16"),
        ({"precision": "bf16", "calibration": "photos"}, "are for int8 and auto, but the precision is bf16"),
    ],
)
def test_settings__refuses_what_does_not_go_together(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        InferenceSettings(**settings)


def test_settings__default_is_exact() -> None:
    assert InferenceSettings() == InferenceSettings("fp32", "torch", ())
