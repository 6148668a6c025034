"""Opens the folder of a run again, to go on with it: its settings, its data, its newest checkpoint."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelscope_beit import names
from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.data.records import Records
from modelscope_beit.data.sources import open_data
from modelscope_beit.data.splitting import write_split
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.overrides import apply_overrides
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.preparation import Prepared, Start, TrainingData, make_job, prepare
from modelscope_beit.training.run_folder import RECORD_FILE, RunFolder, newest_state
from modelscope_beit.training.start_configuration import read_configuration_file

# What a rule has made of the recipe.
RECIPE_FILE = "recipe.json"


def open_training_data(location: str, *, seed: int, class_names: Sequence[str] | None = None) -> TrainingData:
    """Returns the data that a person has named; see data.sources.open_data.

    Raises SettingsError if there are none, or none for training.
    """
    found = open_data(location, seed=seed, class_names=class_names)
    if found.train is None:
        raise SettingsError(f"{location} has data for validation only; data to train on are expected.")
    return TrainingData(found.train, found.validation, found.notes, found.is_divided)


def keep_division(data: TrainingData, work_dir: Path) -> None:
    """Writes into a run folder which picture is for training and which for validation, if chance has decided that.

    Resuming then takes the same pictures, whatever has come to the folder since.
    """
    if not data.is_divided:
        return
    assert isinstance(data.train, Records) and data.validation is not None, "only such data are divided"
    work_dir.mkdir(parents=True, exist_ok=True)
    write_split(data.train, data.validation, work_dir / names.DIVISION_FILE)


def keep_recipe(prepared: Prepared, work_dir: Path) -> None:
    """Writes what a rule has made of the recipe into a run folder, to be edited and taken by --config."""
    if prepared.ruled is not None:
        text = prepared.ruled.as_file()
        work_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(work_dir / RECIPE_FILE, lambda beside: beside.write_text(text, encoding="utf-8"))


def reopening_facts(prepared: Prepared, *, data: str, seed: int) -> dict[str, object]:
    """Returns what the record of a run keeps, so that resume_job can open its data again.

    data: the location, as open_data takes it, from any working directory. seed: that the data were divided with.
    """
    return {"data": data, "seed": seed, "pictures": _counts(prepared.data)}


def refuse_to_replace(folder: Path) -> None:
    """Raises SettingsError if a folder holds a run already. Call it before long work."""
    if (folder / RECORD_FILE).exists():
        raise SettingsError(
            f"{folder} holds a run already. Go on with it: {names.COMMAND} resume {folder}; or choose another folder."
        )


def resume_job(run: Path, overrides: Iterable[str], *, timestamp: str) -> TrainingJob:
    """Returns the job that goes on with a run of `beit train`.

    overrides: KEY=VALUE each, changes of the run's settings. Raises ModelFolderError if the folder holds no run,
    CheckpointError if it holds nothing to go on from, SettingsError if the run has come to its end, early or not, if
    it was started by a script, if its data have changed, or if a setting cannot be used.
    """
    record = RunFolder.open(run).record
    reopening: Mapping[str, Any] = record.get("reopening") or {}
    if not reopening:
        raise SettingsError(
            f"{run} was written by a script ({record.get('command')}), and only the script knows its data. Run it "
            f"again with resume_from={str(run)!r} among the trainer's arguments."
        )
    original = read_configuration_file(run / names.CONFIGURATION_FILE)
    changed: Any = apply_overrides(original, overrides)
    _refuse_fruitless(run, record, original, changed)
    if record.get("is_finished") and changed == original:
        raise SettingsError(
            f"The run in {run} has come to its end. To train on, make it longer: "
            f"{names.COMMAND} resume {run} --set epochs=NUMBER"
        )
    changed["train"]["resume_from"] = str(run)
    checkpoint, state = newest_state(run)
    start = Start(run, checkpoint, original, changed, str(run / names.CONFIGURATION_FILE))
    division = run / names.DIVISION_FILE
    location = str(division) if division.exists() else reopening["data"]
    class_names = state.get("meta", {}).get("CLASSES")
    prepared = prepare(start, lambda: open_training_data(location, seed=reopening["seed"], class_names=class_names))
    if (counts := _counts(prepared.data)) != reopening["pictures"]:
        raise SettingsError(
            f"The data in {reopening['data']} have changed: the run began with {_in_words(reopening['pictures'])}, now "
            f"there are {_in_words(counts)}. Restore them, or start a new run from its weights: "
            f"{names.COMMAND} train MODEL DATA --set train.load_from={checkpoint}"
        )
    return make_job(
        prepared,
        work_dir=run,
        timestamp=timestamp,
        source=record["source"],
        data=record["data"],
        command=record["command"],
        reopening=reopening,
    )


def _refuse_fruitless(run: Path, record: Mapping[str, Any], original: Mapping[str, Any], changed: Any) -> None:
    """Raises SettingsError if early stopping ended the run, and would end it again at once."""
    before, now = original["train"].get("early_stopping"), changed["train"].get("early_stopping")
    if record.get("stopped_early") and before == now:
        raise SettingsError(
            f"{record['stopped_early']} To train on, be more patient: "
            f"{names.COMMAND} resume {run} --set train.early_stopping.patience=NUMBER, or --set "
            "train.early_stopping=null."
        )


def _counts(data: TrainingData) -> list[int | None]:
    """Returns the numbers of training and validation pictures; None for a stream or where there are none."""
    return [len(part) if isinstance(part, Records) else None for part in (data.train, data.validation)]


def _in_words(counts: list[int | None]) -> str:
    train, validation = ("no" if count is None else f"{count:,}" for count in counts)
    return f"{train} pictures for training and {validation} for validation"
