"""Speeds are made up, so that it is known what must be chosen; agreement is measured on real forms."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.prediction import precision_choice as module
from modelscope_beit.prediction.precision_choice import Measured, Question, cache_folder, choose_precision


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(tiny_model_folder: Path) -> OpenedModel:
    return open_model(tiny_model_folder)


@pytest.fixture
def question(model: OpenedModel) -> Question:
    return Question(model.network, tuple(torch.randn(5, 3, 32, 32)))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Times passes: the narrow forms, of which one has half-precision weights, look three times as fast as fp32."""
    made: list[int] = []

    def seconds(form: torch.nn.Module, batch: torch.Tensor) -> float:
        made.append(len(batch))
        return 3.0 if type(form.blocks[0].fc1).__name__ == "Linear" else 1.0

    monkeypatch.setattr(module, "_seconds", seconds)
    monkeypatch.setattr("modelscope_beit.network.precision.packs_float32", lambda: False)
    return made


def test_choose_precision__measures_once_and_remembers(
    question: Question, model: OpenedModel, passes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger=module.__name__):
        first = choose_precision(question, model.folder, batch_size=32)
        assert set(passes) == {8} and len(passes) == 9
        assert choose_precision(question, model.folder, batch_size=32) == first
    assert len(passes) == 9
    assert first.precision in ("bf16", "int8") and first.num_pictures == 5
    assert 0 < first.measured["bf16"].rms < first.measured["int8"].rms < 0.025 * first.measured["fp32"].spread
    assert caplog.messages[0] == caplog.messages[-1]
    assert "3.00 times as fast as fp32" in caplog.messages[0] and "% of 5 pictures" in caplog.messages[0]


def test_choose_precision__agreement_is_that_of_the_logits(
    question: Question, model: OpenedModel, passes: list[int]
) -> None:
    from modelscope_beit.network.precision import form_in

    found = choose_precision(question, model.folder, batch_size=5).measured["bf16"]
    images = torch.stack(question.pictures)
    with torch.inference_mode():
        exact, narrow = model.network(images), form_in(model.network, "bf16")(images)
    assert found.largest == pytest.approx(float((narrow - exact).abs().max()), rel=1e-2)
    assert found.spread == pytest.approx(float(exact.std()), rel=1e-4)


def test_choose_precision__asks_again_for_other_weights_and_pictures(
    question: Question, model: OpenedModel, passes: list[int]
) -> None:
    choose_precision(question, model.folder, batch_size=8)
    choose_precision(replace(question, pictures=question.pictures[:3]), model.folder, batch_size=8)
    assert len(passes) == 18
    weights = torch.load(model.folder / "pytorch_model.pt")
    weights["state_dict"]["head.fc.bias"] += 1
    torch.save(weights, model.folder / "pytorch_model.pt")
    choose_precision(question, model.folder, batch_size=8)
    assert len(passes) == 27


@pytest.mark.parametrize("content", ["", "{", "[]", '{"measured": {}}', '{"measured": {"fp32": {"rms": 0}}}'])
def test_choose_precision__survives_a_broken_file(
    question: Question, model: OpenedModel, passes: list[int], content: str
) -> None:
    wanted = choose_precision(question, model.folder, batch_size=8)
    (file,) = (cache_folder() / "precision").iterdir()
    file.write_text(content)
    found = choose_precision(question, model.folder, batch_size=8)
    assert found.precision == wanted.precision and len(passes) == 18
    assert json.loads(file.read_text())["num_pictures"] == 5


def test_choose_precision__needs_no_cache(
    question: Question, model: OpenedModel, passes: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose_precision(question, model.folder, batch_size=8).precision in ("bf16", "int8")


def test_choose_precision__of_several_at_once(question: Question, model: OpenedModel, passes: list[int]) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: choose_precision(question, model.folder, batch_size=8), range(8)))
    assert len({one.precision for one in found}) == 1
    assert len(list((cache_folder() / "precision").iterdir())) == 1


@pytest.mark.parametrize(
    ("bf16", "int8", "chosen"),
    [
        ((2.0, 0.005, 1.0), (3.0, 0.02, 1.0), "int8"),
        ((2.0, 0.005, 1.0), (3.0, 0.03, 1.0), "bf16"),
        ((2.0, 0.005, 1.0), (3.0, 0.02, 0.95), "bf16"),
        ((2.0, 0.007, 1.0), (0.5, 0.02, 1.0), "fp32"),
        ((1.05, 0.005, 1.0), (1.09, 0.02, 1.0), "fp32"),
    ],
)
def test_best__is_the_fastest_that_keeps_its_promise(bf16: tuple, int8: tuple, chosen: str) -> None:
    measured = {"fp32": Measured(1.0, 0.0, 0.0, 2.0, 1.0)}
    for name, (speed, share, top1) in {"bf16": bf16, "int8": int8}.items():
        measured[name] = Measured(speed, 0.1, 2.0 * share, 2.0, top1)
    assert module._best(measured) == chosen
