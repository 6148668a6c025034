"""The parts of demo/app.py without a browser: words, what the page makes of answers, one network for many threads."""

import string
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.prediction.answering import shipped_pictures
from modelscope_beit.prediction.stream import Prediction

PARTS = ("app_answers", "app_looking", "app_texts", "app_view")


@pytest.fixture(scope="module")
def parts() -> Iterator[dict[str, Any]]:
    """The modules beside demo/app.py, found as Python finds them for that script."""
    folder = str(helpers.ROOT / "demo")
    sys.path.insert(0, folder)
    try:
        yield {name: __import__(name) for name in PARTS}
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def models(parts: dict[str, Any]) -> Any:
    return parts["app_answers"].Models(["embedded"])


def places(text: str) -> set[str | None]:
    """The names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}


def test_texts__say_in_both_languages_the_same(parts: dict[str, Any]) -> None:
    english, chinese = parts["app_texts"].TEXTS.values()
    for name in (field.name for field in fields(english)):
        one, other = getattr(english, name), getattr(chinese, name)
        if name == "columns":
            assert len(one) == len(other)
            continue
        assert one != other, name
        assert places(one) == places(other), name


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "中文"), ("en-GB,zh;q=0.5", "English"), ("", "English"), ("ZH", "中文")],
)
def test_preferred_language__is_the_first(parts: dict[str, Any], accepted: str, language: str) -> None:
    assert parts["app_texts"].preferred_language(accepted) == language


def test_answer_html__shows_names_as_text(parts: dict[str, Any]) -> None:
    texts = parts["app_texts"].TEXTS["English"]
    evil = "<script>alert(1)</script>"
    for prediction in (Prediction("a", (evil, "b"), (0.75, 0.25)), Prediction("a", error=evil)):
        shown = parts["app_view"].answer_html(parts["app_answers"].Answer(prediction, 0.01, evil, "fp32"), texts)
        assert "<script" not in shown and "&lt;script&gt;" in shown


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0123, "12.3 ms"), (0.99951, "1 s"), (2.345, "2.35 s"), (75.2, "75.2 s")]
)
def test_spell_seconds__takes_the_unit_of_people(parts: dict[str, Any], seconds: float, said: str) -> None:
    assert parts["app_view"].spell_seconds(seconds) == said


def test_models__answer_threads_as_one_alone(models: Any) -> None:
    """Bars in two precisions and maps at once, of one network: whoever changed it would change or break another's."""
    pictures = [str(path) for path in shipped_pictures()[::7]]
    jobs = [(picture, precision) for picture in pictures for precision in ("fp32", "bf16")] * 2

    def ask(job: tuple[str, str]) -> tuple[Any, np.ndarray]:
        answer = models.answer(job[0], "embedded", job[1])
        return answer.prediction, np.asarray(models.looked(job[0], answer))

    alone = {job: ask(job) for job in jobs}
    with ThreadPoolExecutor(4) as threads:
        for job, (prediction, looked) in zip(jobs, threads.map(ask, jobs), strict=True):
            assert prediction.labels == alone[job][0].labels
            np.testing.assert_allclose(prediction.scores, alone[job][0].scores, atol=1e-6)
            assert np.abs(looked.astype(int) - alone[job][1]).max() <= 1


def test_models__say_what_cannot_be_asked(models: Any) -> None:
    found = models.answer(str(shipped_pictures()[0]), "embedded", "int7")
    assert "int7" in found.prediction.error and found.seconds == 0
    with pytest.raises(SettingsError, match="int7"):
        models.answers([], "embedded", "int7")


def test_looked_picture__glows_where_the_evidence_is(parts: dict[str, Any]) -> None:
    evidence = np.full((4, 4), -1.0)
    evidence[0, 3] = 5
    drawn = np.asarray(parts["app_looking"].looked_picture(Image.new("RGB", (56, 56), "#808080"), evidence), int)
    assert drawn.shape == (448, 448, 3)
    warm = drawn[:, :, 0] - drawn[:, :, 2]
    assert warm[:112, -112:].mean() > 60 and abs(warm[224:, :224]).max() == 0


def test_pixels_of__gives_back_what_the_network_got(parts: dict[str, Any]) -> None:
    transform = open_model("embedded").transform
    picture = read_image(shipped_pictures()[3])
    np.testing.assert_array_equal(np.asarray(parts["app_looking"].pixels_of(transform(picture), transform)), picture)


def test_app__names_a_model_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the app needs the extra demo")
    command = [sys.executable, str(helpers.ROOT / "demo" / "app.py"), str(tmp_path / "nowhere")]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=helpers.ROOT)
    assert finished.returncode == 1
    assert "There is no model folder" in finished.stderr and "Traceback" not in finished.stderr
