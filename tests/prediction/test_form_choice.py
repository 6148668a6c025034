"""Speeds are made up, so that it is known what must be chosen; agreement is measured on real forms."""

import json
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.network.precision import form_in
from modelscope_beit.prediction import form_choice as module
from modelscope_beit.prediction.form_choice import Choice, Form, Measured, Question, cache_folder, choose_form
from modelscope_beit.settings.inference import AUTO, TORCH


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(tiny_model_folder: Path) -> OpenedModel:
    return open_model(tiny_model_folder)


@pytest.fixture
def question(model: OpenedModel) -> Question:
    exact, *narrow = (
        Form(precision, TORCH, partial(form_in, model.network, precision)) for precision in ("fp32", "bf16", "int8")
    )
    return Question(model.network, tuple(torch.randn(5, 3, 32, 32)), AUTO, exact, tuple(narrow))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Times passes: the narrow forms, of which one has half-precision weights, look three times as fast as fp32."""
    made: list[int] = []

    def seconds(form: torch.nn.Module, batch: torch.Tensor) -> float:
        made.append(len(batch))
        return 3.0 if type(form.network.blocks[0].fc1).__name__ == "Linear" else 1.0

    monkeypatch.setattr(module, "_seconds", seconds)
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr("modelscope_beit.network.precision.prefers_onednn", lambda: False)
    return made


def test_choose_form__measures_once_and_remembers(
    question: Question, model: OpenedModel, passes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger=module.__name__):
        first = choose_form(question, model.folder, batch_size=32)
        assert set(passes) == {8} and len(passes) == 13
        assert choose_form(question, model.folder, batch_size=32) == first
    assert len(passes) == 13
    assert first.form in ("bf16", "int8") and first.num_pictures == 5
    assert 0 < first.measured["bf16"].rms < first.measured["int8"].rms < 0.025 * first.measured["fp32"].spread
    assert caplog.messages[0] == caplog.messages[-1]
    assert "3.00 times as fast as fp32" in caplog.messages[0] and "% of 5 pictures" in caplog.messages[0]


def test_choose_form__tells_the_speed_of_the_best_pass_that_it_measured(
    question: Question, model: OpenedModel, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = [1.0]
    timed = module._seconds
    # The machine is busy from the second turn on.
    monkeypatch.setattr(module, "_seconds", lambda *of: timed(*of) * (quiet.pop() if quiet else 4.0))
    measured = choose_form(question, model.folder, batch_size=8).measured
    assert measured["fp32"].images_per_second == pytest.approx(8 / 3.0)
    assert measured["bf16"].images_per_second == pytest.approx(8 / 4.0)


def test_choose_form__agreement_is_that_of_the_logits(
    question: Question, model: OpenedModel, passes: list[int]
) -> None:
    found = choose_form(question, model.folder, batch_size=5).measured["bf16"]
    images = torch.stack(question.pictures)
    with torch.inference_mode():
        exact, narrow = model.network(images), form_in(model.network, "bf16")(images)
    assert found.largest == pytest.approx(float((narrow - exact).abs().max()), rel=1e-2)
    assert found.spread == pytest.approx(float(exact.std()), rel=1e-4)


def test_choose_form__asks_again_for_other_weights_and_pictures(
    question: Question, model: OpenedModel, passes: list[int]
) -> None:
    choose_form(question, model.folder, batch_size=8)
    choose_form(replace(question, pictures=question.pictures[:3]), model.folder, batch_size=8)
    assert len(passes) == 26
    weights = torch.load(model.folder / "pytorch_model.pt")
    weights["state_dict"]["head.fc.bias"] += 1
    torch.save(weights, model.folder / "pytorch_model.pt")
    choose_form(question, model.folder, batch_size=8)
    assert len(passes) == 39


def test_choose_form__holds_one_form_beside_the_exact_one(
    question: Question, model: OpenedModel, passes: list[int]
) -> None:
    alive: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
    counts = []

    def counted(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
        counts.append(len(alive))
        network = build()
        alive.add(network)
        return network

    forms = tuple(replace(form, build=partial(counted, form.build)) for form in (*question.forms, *question.forms))
    choose_form(replace(question, forms=forms), model.folder, batch_size=8)
    assert counts == [0, 0, 0, 0]


def test_choice__of_a_network_that_says_nothing_yet() -> None:
    """A fresh head of zeros: all logits are equal."""
    measured = {name: Measured(speed, 0.0, 0.0, 0.0, 1.0) for name, speed in (("fp32", 1.0), ("bf16", 2.0))}
    assert "2.00 times as fast" in str(Choice("bf16", measured, 20))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"measured": {}}', '{"measured": {"fp32": {"rms": 0}}}'])
def test_choose_form__survives_a_broken_file(
    question: Question, model: OpenedModel, passes: list[int], content: str
) -> None:
    wanted = choose_form(question, model.folder, batch_size=8)
    (file,) = (cache_folder() / "form").iterdir()
    file.write_text(content)
    found = choose_form(question, model.folder, batch_size=8)
    assert found.form == wanted.form and len(passes) == 26
    assert json.loads(file.read_text())["num_pictures"] == 5


def test_choose_form__needs_no_cache(
    question: Question, model: OpenedModel, passes: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose_form(question, model.folder, batch_size=8).form in ("bf16", "int8")


def test_choose_form__of_several_at_once(question: Question, model: OpenedModel, passes: list[int]) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: choose_form(question, model.folder, batch_size=8), range(8)))
    assert len({one.form for one in found}) == 1
    assert len(list((cache_folder() / "form").iterdir())) == 1


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
    assert module._best(measured, AUTO) == chosen


def test_best__of_one_precision_is_the_fastest_backend() -> None:
    speeds = {"fp32": 1.0, "fp32 by openvino": 1.2, "int8": 0.5, "int8 by onnxruntime": 0.7}
    measured = {name: Measured(speed, 0.1, 1e-6, 2.0, 1.0) for name, speed in speeds.items()}
    assert module._best(measured, "fp32") == "fp32 by openvino"
    assert module._best(measured, "int8") == "int8 by onnxruntime"
    with pytest.raises(SettingsError, match="fp16"):
        module._best(measured, "fp16")


def test_choose_form__passes_over_what_is_not_for_the_network(
    question: Question, model: OpenedModel, passes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> torch.nn.Module:
        raise SettingsError("only for pictures of one size")

    forms = (*question.forms, Form("fp32", "openvino", refuse))
    with caplog.at_level("INFO", logger=module.__name__):
        found = choose_form(replace(question, forms=forms), model.folder, batch_size=8)
    assert set(found.measured) == {"fp32", "bf16", "int8"}
    assert "only for pictures of one size" in caplog.text
