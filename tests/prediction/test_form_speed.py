"""Forms of a model in processes of their own: what is counted, compared, and said of those that do not run."""

import numpy as np
import pytest

from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.prediction import form_speed
from modelscope_beit.prediction.form_speed import EXACT, FormSpeed, Passes, choices_of_auto, measure_forms
from modelscope_beit.settings.inference import InferenceSettings


def test_passes__median_of_turns_and_latency_of_all_passes() -> None:
    passes = Passes(seconds=tuple(number / 1000 for number in range(1, 102)), by_turn=(10.0, 90.0, 20.0))
    assert passes.images_per_second == 20.0
    assert passes.latency(50) == pytest.approx(0.051)
    assert passes.latency(99) == pytest.approx(0.100)


def test_measure_forms__in_turns_beside_fp32(tiny_model_folder) -> None:
    steps: list[tuple[str, str]] = []
    wanted = [InferenceSettings("int8")]
    exact, narrow = measure_forms(
        tiny_model_folder, wanted, batch_sizes=[3, 1], seconds=0.03, on_step=lambda *step: steps.append(step)
    )
    assert (exact.wanted, narrow.wanted) == (EXACT, wanted[0])
    assert (exact.largest, exact.rms, exact.top1) == (0.0, 0.0, 1.0)
    assert 0 < narrow.rms <= narrow.largest < narrow.spread
    for form in (exact, narrow):
        assert list(form.passes) == [1, 3]
        assert form.peak_mib is None or form.peak_mib > 100
        for batch_size, passes in form.passes.items():
            assert len(passes.by_turn) == 3
            assert sum(passes.seconds) >= 0.03
            least, most = batch_size / max(passes.seconds), batch_size / min(passes.seconds)
            assert least <= passes.images_per_second <= most
    assert [form for form, step in steps if "batches of 1," in step] == ["torch fp32", "torch int8"] * 3


def test_measure_forms__refuses_what_cannot_be_measured(tiny_model_folder) -> None:
    for batch_sizes, seconds in (([], 1.0), ([0], 1.0), ([1], 0.0), ([1], float("nan"))):
        with pytest.raises(SettingsError, match="at least 1"):
            measure_forms(tiny_model_folder, [], batch_sizes=batch_sizes, seconds=seconds)


def test_measure_forms__says_why_nothing_answers(tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"fp32 by torch: .*configuration\.json"):
        measure_forms(tmp_path, [], batch_sizes=[1], seconds=0.1)
    with pytest.raises(ModelFolderError):
        open_model(tmp_path)


def test_compare__against_numpy() -> None:
    form = FormSpeed(EXACT)
    exact = np.array([[1.0, 0.0], [0.0, 3.0]], np.float32)
    form_speed._compare(form, np.array([[1.0, 2.0], [0.0, 3.0]], np.float32), exact)
    assert (form.largest, form.rms, form.top1) == (2.0, 1.0, 0.5)
    assert form.spread == pytest.approx(np.sqrt(1.5))


def test_choices_of_auto__one_for_each_batch_size(tiny_model_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Others are tried in test_answering.py; to write files for them takes half a minute.
    monkeypatch.setattr("modelscope_beit.prediction.answering.installed_runtimes", lambda: [])
    choices = choices_of_auto(open_model(tiny_model_folder), [2, 1, 2])
    assert list(choices) == [1, 2]
    assert all({"fp32", "bf16", "int8"} == set(choice.measured) for choice in choices.values())
