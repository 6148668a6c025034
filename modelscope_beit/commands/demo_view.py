"""How the demo looks on a terminal: tables, and what to type next."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from modelscope_beit import names
from modelscope_beit.prediction.contact_sheet import Answer

if TYPE_CHECKING:
    from modelscope_beit.commands.demo_training import DigitsRun

_BAR_CELLS = 24

_SCRIPT = f"""\
import modelscope_beit  # registers BEiT v2 with ModelScope
from modelscope.pipelines import pipeline

classify = pipeline("image-classification", model="{names.HUB_BASE}")
print(classify("photo.jpg"))"""

_TRAINING_SCRIPT = f"""\
import modelscope_beit  # registers BEiT v2 with ModelScope
from modelscope.msdatasets import MsDataset
from modelscope.trainers import build_trainer

trainer = build_trainer("image-classification", dict(
    model="{names.HUB_BASE}",
    work_dir="run",
    train_dataset=MsDataset.load("PHOTOS", split="train"),  # PHOTOS/train/cat/1.jpg and so on
    eval_dataset=MsDataset.load("PHOTOS", split="validation"),  # PHOTOS/val/cat/9.jpg and so on
))
trainer.train()
print(trainer.evaluate())"""


def answer_table(paths: Iterable[Path], answers: Sequence[Answer], *, title: str, is_known: bool) -> Table:
    """Returns a table with a row per picture: file, what it shows, best class, a bar, its probability.

    is_known: the model's classes are those of the pictures, so that each row also says whether it is right.
    """
    table = Table(box=None, title=escape(title), title_justify="left", title_style="bold", header_style="dim")
    table.add_column("picture", style="dim", overflow="fold")
    table.add_column("shows", overflow="fold")
    table.add_column("answer", overflow="fold")
    table.add_column("", width=_BAR_CELLS)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("")
    for path, answer in zip(paths, answers, strict=True):
        style = "" if not is_known else "green" if answer.is_right else "red"
        bar = ProgressBar(total=1.0, completed=answer.score, width=_BAR_CELLS, complete_style=style or "cyan")
        verdict = "" if not is_known else "right" if answer.is_right else "wrong"
        table.add_row(
            Text(path.name),
            Text(answer.truth),
            Text(answer.label, style=f"bold {style}"),
            bar,
            f"{answer.score:.1%}",
            Text(verdict, style=style),
        )
    return table


def training_rows(run: "DigitsRun") -> dict[str, str]:
    """Returns heading -> text of a finished run, in the order in which a person reads it."""
    return {
        "Accuracy": f"{run.accuracy:.2f} %, of {run.num_held_out:,} digits that were held out "
        f"(95 % interval: {run.low:.1f} to {run.high:.1f})",
        "": f"the best of {run.epochs} epochs, chosen by the same digits, so a little too favourable",
        "Training": f"{run.num_train:,} digits, {run.seconds:.1f} s, {run.images_per_second:,.0f} images/s "
        "on this machine, validation included",
        "Report": f"{run.report} (which digits are confused, and the worst mistakes)",
        "Curves": str(run.curves),
        "Model": f"{run.output} (for pipeline() and for {names.COMMAND} predict)",
    }


def how_to_fine_tune() -> Group:
    """Returns the script and the command that train on a person's own pictures."""
    return Group(
        Text("\nThe same with your pictures and the hub's base model, from Python:\n", style="bold"),
        Text(indent(_TRAINING_SCRIPT, "  "), style="cyan"),
        Text("\nor from the command line, which also divides pictures that come in one part:\n", style="bold"),
        Text(f"  {names.COMMAND} train {names.HUB_BASE} PHOTOS --out run", style="cyan"),
    )


def how_to_use_the_hub() -> Group:
    """Returns the script and the command that do the same with the hub's models."""
    commands = "\n".join(f"  {names.COMMAND} predict {model} photo.jpg" for model in (names.HUB_BASE, names.HUB_LARGE))
    return Group(
        Text("\nClassifying with the hub's base or large model, from Python:\n", style="bold"),
        Text(indent(_SCRIPT, "  "), style="cyan"),
        Text("\nor from the command line:\n", style="bold"),
        Text(commands + "\n", style="cyan"),
    )
