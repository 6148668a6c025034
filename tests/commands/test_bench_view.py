"""The table of `beit bench`, from numbers that are known."""

from rich.console import Console

from modelscope_beit.commands.bench_view import bench_notes, bench_table
from modelscope_beit.prediction.form_choice import Choice, Measured
from modelscope_beit.prediction.form_speed import EXACT, FormSpeed, Passes
from modelscope_beit.settings.inference import InferenceSettings


def forms() -> list[FormSpeed]:
    passes = {1: Passes((0.1, 0.2, 0.3), (4.0, 5.0, 6.0)), 8: Passes((1.0,), (8.0,))}
    refused = FormSpeed(InferenceSettings("int8"), refusal="It has no weights [here].")
    return [FormSpeed(EXACT, None, passes, 1234, 0.5, 0.02, 2.0, 0.95), refused]


def test_bench_table__a_row_for_what_runs() -> None:
    console = Console(width=200)
    with console.capture() as shown:
        console.print(bench_table(forms()))
    heading, row = shown.get().splitlines()
    assert row.split() == ["torch", "fp32", "5.00", "8.00", "200.0", "298.0", "1,234", "0.5", "1", "95", "%"]
    assert "p99 ms, batch 1" in heading


def test_bench_notes__what_auto_takes_and_what_is_missing() -> None:
    choice = Choice("fp32", {"fp32": Measured(7.0, 0.0, 0.0, 1.0, 1.0)}, 20)
    auto, refused, missing = bench_notes(forms(), {8: choice}, ["openvino"])
    assert auto.startswith("Batches of 8: auto: fp32 by torch")
    assert refused == "torch int8 does not run here: It has no weights [here]."
    assert missing == "Not measured, because not installed: openvino."
