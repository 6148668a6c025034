"""What is served crosses to the machines of a cluster."""

import pickle
from pathlib import Path

from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.settings.inference import InferenceSettings


def test_served_model__survives_the_way_to_another_machine() -> None:
    model = ServedModel(Path("/models/a"), InferenceSettings(precision="bf16"), device="cuda", fast_decode=True)
    assert pickle.loads(pickle.dumps(model)) == model
    assert ServedModel(Path("a")) == ServedModel(Path("a"), InferenceSettings("fp32", "torch"), "cpu", False, False)
