"""Classify the pictures that come with the package, then fine-tune on handwritten digits, through ModelScope itself.

The small embedded model does it offline. pipeline() classifies garments: a table, and a contact sheet as a PNG file.
build_trainer() then teaches the model digits, which scikit-learn brings, in about a minute: a run folder with the
trained model, its curves and a report. If the ModelScope hub answers within two seconds, its BEiT v2 base and large
models say what they see in the garments; they are downloaded once (about 350 MB and 1.2 GB). Ctrl-C skips what is
going on.

Examples:
  beit demo
  beit demo --offline --no-training --out pictures/
"""

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelscope_beit import names
from modelscope_beit.errors import BeitError, MissingPackageError, ModelFolderError
from modelscope_beit.model_folder.finding import EMBEDDED, find_model_folder

if TYPE_CHECKING:
    from rich.console import Console

    from modelscope_beit.prediction.contact_sheet import Answer

SHEET_FILE = "contact_sheet.png"
DIGITS_FOLDER = "digits"
RUN_FOLDER = "run"
HUB_MODELS = {names.HUB_BASE: "about 350 MB", names.HUB_LARGE: "about 1.2 GB"}

_HUB_SECONDS = 2.0
_WIDTH_OF_A_LOG = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds where everything goes, whether a model is trained and whether the hub is asked."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("demo/output"), metavar="DIR", help="for all files (default: demo/output)")
    add("--no-training", action="store_true", help="do not fine-tune on digits")
    add("--offline", action="store_true", help="do not ask the hub for its base and large models")


def run(arguments: argparse.Namespace) -> int:
    """Prints tables, writes the sheet and the trained model, and returns 0 whether the hub answers or not."""
    # Deferred, so that help is told at once: these bring torch and, of ModelScope, what takes seconds to import.
    from rich.console import Console

    from modelscope_beit.commands.demo_view import answer_table, how_to_use_the_hub
    from modelscope_beit.plugin.host_pipeline import open_pipeline
    from modelscope_beit.prediction.contact_sheet import contact_sheet

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_LOG
    folder = find_model_folder(EMBEDDED)
    pictures = shipped_pictures(folder)
    answers, speed = _classify(open_pipeline(folder), pictures)
    summary = f"{sum(answer.is_right for answer in answers)} of {len(answers)} right, {speed:,.0f} images/s"
    console.print(answer_table(pictures, answers, title="The embedded model, through pipeline()", is_known=True))
    console.print(f"\n[bold]{summary}[/] on this machine, decoding included.")
    sheet = contact_sheet(
        answers,
        title="BEiT v2 in ModelScope: pictures that it was not trained on",
        subtitle=f"embedded model  ·  {summary}",
        footer="Pictures: test set of Fashion-MNIST, first two of each class; (c) 2017 Zalando SE, MIT licence",
    )
    path = _save(sheet, arguments.out)
    console.print(f"Contact sheet: {path}", markup=False, soft_wrap=True)
    console.print(f"What the model can do, and cannot: {folder / names.CARD_FILE}", markup=False, soft_wrap=True)
    if not arguments.no_training:
        _show_training(console, folder, arguments.out)
    console.print(how_to_use_the_hub(), soft_wrap=True)
    _show_hub_models(console, pictures, offline=arguments.offline)
    return 0


def shipped_pictures(folder: Path) -> dict[Path, str]:
    """Returns the pictures of the embedded model's folder and what each shows, in the order of the classes.

    A picture's name is the class in lower case, then its number in the test set: t_shirt_top_00019.png.
    """
    class_names = (folder / names.CLASS_NAMES_FILE).read_text(encoding="utf-8").splitlines()
    pictures: dict[Path, str] = {}
    for name in class_names:
        found = sorted((folder / "pictures").glob(f"{picture_stem(name)}_[0-9]*.png"))
        pictures |= dict.fromkeys(found, name)
    return pictures


def picture_stem(class_name: str) -> str:
    """Returns how the file names of the pictures of a class begin."""
    return re.sub(r"[^a-z]+", "_", class_name.lower())


def _classify(classify: Any, pictures: dict[Path, str]) -> "tuple[list[Answer], float]":
    """The best class of each picture, and pictures per second: all in one call, decoding included."""
    from modelscope_beit.images.reading import read_image
    from modelscope_beit.prediction.contact_sheet import Answer

    paths = [str(path) for path in pictures]
    classify(paths[0])  # The first call reads the weights.
    start = time.perf_counter()
    results = classify(paths, batch_size=len(paths))
    speed = len(paths) / (time.perf_counter() - start)
    answers = [
        Answer(read_image(path), result["labels"][0], float(result["scores"][0]), truth)
        for (path, truth), result in zip(pictures.items(), results, strict=True)
    ]
    return answers, speed


def _save(sheet: Any, folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sheet.save(folder / SHEET_FILE)
    except OSError as error:
        raise ModelFolderError(
            f"The contact sheet cannot be written to {folder}: {error}. Choose --out DIR."
        ) from error
    return folder / SHEET_FILE


def _show_training(console: "Console", folder: Path, out: Path) -> None:
    """Fine-tunes the model of a folder on digits, and prints the result and what the trained model says."""
    # Deferred like the others.
    from modelscope_beit.commands.demo_training import EPOCHS, fine_tune, held_out_pictures, write_digits
    from modelscope_beit.commands.demo_view import answer_table, how_to_fine_tune, training_rows
    from modelscope_beit.commands.facts_view import print_facts
    from modelscope_beit.plugin.host_pipeline import open_pipeline

    digits = out / DIGITS_FOLDER
    console.print("\n[bold]Fine-tuning: the same model learns handwritten digits, through build_trainer()[/]")
    try:
        write_digits(digits)
        console.print(f"{EPOCHS} passes over them; Ctrl-C skips this. The log of the run:\n")
        run = fine_tune(folder, digits, out / RUN_FOLDER)
    except (MissingPackageError, KeyboardInterrupt) as error:
        console.print(f"Left out: {str(error) or 'skipped'}", markup=False, soft_wrap=True)
        return
    console.print()
    print_facts("What came out", training_rows(run))
    pictures = held_out_pictures(digits)
    answers, _ = _classify(open_pipeline(run.output), pictures)
    console.print()
    console.print(answer_table(pictures, answers, title="The trained model, through pipeline()", is_known=True))
    console.print(how_to_fine_tune(), soft_wrap=True)


def _show_hub_models(console: "Console", pictures: dict[Path, str], *, offline: bool) -> None:
    """Prints what the hub's models see, if the hub can be reached; whatever goes wrong is told and passed over."""
    # Deferred like the others.
    from modelscope_beit.commands.demo_view import answer_table
    from modelscope_beit.plugin.host_pipeline import open_pipeline
    from modelscope_beit.plugin.hub import download_model, hub_answers

    if offline:
        return
    if not hub_answers(_HUB_SECONDS):
        console.print(f"The hub did not answer within {_HUB_SECONDS:.0f} s, so its models were not tried.")
        return
    for model_id, size in HUB_MODELS.items():
        console.print(f"\nFetching {model_id} ({size}, once; Ctrl-C skips it) ...", soft_wrap=True)
        try:
            answers, speed = _classify(open_pipeline(download_model(model_id)), pictures)
        except (BeitError, KeyboardInterrupt) as error:
            console.print(f"Not tried: {str(error) or 'skipped'}", markup=False, soft_wrap=True)
            continue
        console.print(answer_table(pictures, answers, title=f"{model_id} (ImageNet's classes)", is_known=False))
        console.print(f"{speed:,.1f} images/s on this machine, decoding included.")
