"""The demo's table and its hints, as plain text."""

from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from modelscope_beit import names
from modelscope_beit.__main__ import main
from modelscope_beit.commands.demo_training import DigitsRun
from modelscope_beit.commands.demo_view import answer_table, how_to_fine_tune, how_to_use_the_hub, training_rows
from modelscope_beit.prediction.contact_sheet import Answer

PICTURE = Image.new("L", (28, 28))
ANSWERS = [Answer(PICTURE, "Bag", 0.75, "Bag"), Answer(PICTURE, "[red] Coat", 0.25, "Dress")]
PATHS = [Path("pictures/bag_00018.png"), Path("pictures/dress_00013.png")]


def printed(renderable: object) -> list[str]:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(renderable, soft_wrap=True)
    return capture.get().splitlines()


def test_answer_table__says_what_is_right() -> None:
    first, second = printed(answer_table(PATHS, ANSWERS, title="A title", is_known=True))[-2:]
    assert first.split()[:3] == ["bag_00018.png", "Bag", "Bag"]
    assert first.split()[-2:] == ["75.0%", "right"]
    assert second.split()[:4] == ["dress_00013.png", "Dress", "[red]", "Coat"]
    assert second.split()[-2:] == ["25.0%", "wrong"]


def test_answer_table__bars_are_as_long_as_the_scores() -> None:
    first, second = printed(answer_table(PATHS, ANSWERS, title="A title", is_known=True))[-2:]
    assert first.count("━") == 3 * second.count("━") == 18


def test_answer_table__does_not_judge_other_classes() -> None:
    text = "\n".join(printed(answer_table(PATHS, ANSWERS, title="A title", is_known=False)))
    assert "right" not in text and "wrong" not in text


def test_training_rows__say_numbers_and_paths() -> None:
    run = DigitsRun(
        epochs=4,
        accuracy=98.3516,
        low=96.98,
        high=99.45,
        num_train=1433,
        num_held_out=364,
        seconds=20.04,
        images_per_second=286.0,
        report=Path("out/run/report.html"),
        curves=Path("out/run/curves.png"),
        output=Path("out/run/output"),
    )
    rows = training_rows(run)
    assert rows["Accuracy"] == "98.35 %, of 364 digits that were held out (95 % interval: 97.0 to 99.5)"
    assert "1,433 digits, 20.0 s, 286 images/s" in rows["Training"]
    for path in (run.report, run.curves, run.output):
        assert any(text.split(" (")[0] == str(path) for text in rows.values())


def test_how_to_fine_tune__shows_a_script_and_a_command_that_exist() -> None:
    lines = printed(how_to_fine_tune())
    (command,) = [line.split() for line in lines if line.startswith(f"  {names.COMMAND} ")]
    script = "\n".join(line[2:] for line in lines if line.startswith("  ") and line.split() != command)
    compile(script, "<shown>", "exec")
    assert "build_trainer(" in script and names.HUB_BASE in script
    with pytest.raises(SystemExit) as ended:
        main([*command[1:], "--help"])
    assert ended.value.code == 0


def test_how_to_use_the_hub__shows_a_script_that_compiles() -> None:
    lines = printed(how_to_use_the_hub())
    script = "\n".join(line[2:] for line in lines if line.startswith("  ") and names.COMMAND + " predict" not in line)
    compile(script, "<shown>", "exec")
    assert names.HUB_BASE in script
    assert any(line.split() == [names.COMMAND, "predict", names.HUB_LARGE, "photo.jpg"] for line in lines)
