"""From a model folder or a run folder to a folder as it is to be on a hub. Nothing leaves the machine here."""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.model_folder.finding import looks_like_hub_id
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.model_folder.writing import written_as_a_whole
from modelscope_beit.publishing.answers import ANSWERS_FILE, RESOURCES, write_answers
from modelscope_beit.publishing.card import write_card
from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.card_parts import CONFUSION
from modelscope_beit.publishing.checks import EXACT, RESIZED_OTHERWISE, check_folder
from modelscope_beit.publishing.citations import is_beit
from modelscope_beit.publishing.confusion_picture import draw_confusion
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.front_matter import OTHER_LICENSE, FrontMatter
from modelscope_beit.publishing.measured import Measured, read_measured
from modelscope_beit.publishing.model_files import ModelFiles, write_modelscope_files, write_transformers_files
from modelscope_beit.publishing.source import CARD_MARK, Source, read_source
from modelscope_beit.publishing.staged_folder import Check, StagedFolder, digests_below, files_below
from modelscope_beit.publishing.usage_code import Usage, run_usage
from modelscope_beit.settings.foreign_models import MmclsModelSettings, TimmModelSettings

# A picture that a card of the source shows.
_SHOWN = re.compile(r"""(?:\]\(|src=["'])([^)"'#:?\s]+)""")


@dataclass(frozen=True)
class Wishes:
    """What only the person who publishes can know; None and () where nothing is to be said but what the source says.

    title: of the card. license: as either hub spells it. base_model, datasets: ids of the hub that is published to.
    evaluation: what `beit evaluate --out` wrote of these weights; None: what the run found. example: a picture for the
    code in the card, which is published with it.
    """

    title: str | None = None
    license: str | None = None
    base_model: str | None = None
    datasets: Sequence[str] = ()
    evaluation: Path | None = None
    example: Path | None = None


def stage(
    source: Path,
    destination: Destination,
    folder: Path,
    *,
    self_contained: bool = False,
    wishes: Wishes = Wishes(),
    trust_remote_code: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> StagedFolder:
    """Writes everything that is to be published into a folder, checks it, and returns what was found.

    source: a model folder, the folder of a run, or the output of one. folder: a new one, or one that was staged
    before, which is replaced as a whole. It stays there when a check fails, for a look at it.
    self_contained: with the wrapper that ModelScope imports when it is told to trust the code of the folder.
    trust_remote_code: allows a config.py of the source to be run; it is not published.
    on_step: told what is done next, in words; the code of the card and the golden answers take new interpreters, each
    of which takes seconds to import what it needs.
    Raises BeitError, with nothing written, if the source cannot be opened or be written in the format of the hub.
    """
    tell = on_step or (lambda step: None)
    folder = folder.expanduser().absolute()
    _check_place(folder)
    if self_contained and destination.hub != "modelscope":
        raise SettingsError(f"Only ModelScope has a wrapper file; {destination} is opened by transformers as it is.")
    found = read_source(source)
    known = _known_paths(found)
    request = _Request(destination, self_contained, wishes, trust_remote_code, known, tell)
    with written_as_a_whole(folder) as unfinished:
        facts = _write_all_but_card(found, unfinished, request)
        (unfinished / names.CARD_FILE).write_text(write_card(facts), encoding="utf-8")
    tell("checking the folder")
    # Before the checks: what changes during them was not checked.
    digests = digests_below(folder)
    tolerance = RESIZED_OTHERWISE if facts.model.differences else EXACT
    checks = check_folder(folder, destination, known_paths=known, tolerance=tolerance)
    return StagedFolder(folder, destination, files_below(folder), digests, (_check_usage(facts.usage), *checks))


@dataclass(frozen=True)
class _Request:
    """What the parts of staging share; see stage."""

    destination: Destination
    self_contained: bool
    wishes: Wishes
    trust_remote_code: bool
    known_paths: tuple[str, ...]
    tell: Callable[[str], None]


def _write_all_but_card(source: Source, folder: Path, request: _Request) -> CardFacts:
    """Writes the files of the model, its golden answers and pictures, and returns what the card is to tell."""
    destination, wishes = request.destination, request.wishes
    request.tell("writing the model's files")
    model = _write_model(source, folder, request)
    measured = read_measured(source, wishes.evaluation, digest=model.source_digest)
    opened = open_model(source.model, trust_remote_code=request.trust_remote_code)
    answers = write_answers(opened, folder, wishes.example, calibrated=destination.hub == "modelscope")
    pictures = _write_pictures(source, measured, folder / RESOURCES)
    _copy_shown_pictures(source, folder)
    request.tell("running the code of the card in a new interpreter")
    usage = run_usage(folder, destination, answers[0].picture, self_contained=request.self_contained)
    return CardFacts(
        destination=destination,
        title=wishes.title or destination.name,
        front_matter=_front_matter(source, model, measured, request),
        source=source,
        model=model,
        digest=file_digest(folder / model.weights),
        answers=answers,
        usage=usage,
        measured=measured,
        pictures=pictures,
        is_multi_label=opened.network.is_multi_label,
        self_contained=request.self_contained,
        known_paths=request.known_paths,
    )


def _check_place(folder: Path) -> None:
    """Raises ModelFolderError for a folder with anything but an earlier stage in it."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    card = folder / names.CARD_FILE
    is_staged = (folder / ANSWERS_FILE).is_file() and card.is_file() and CARD_MARK in card.read_text(encoding="utf-8")
    if not is_staged:
        raise ModelFolderError(f"{folder} exists and was not staged before; give a new folder by --stage.")


def _known_paths(source: Source) -> tuple[str, ...]:
    """Returns the places that texts of the source are most likely to name; they may hold spaces."""
    places = [source.model, source.run, Path.home(), Path.cwd(), Path(gettempdir())]
    places += [
        Path(value) for key in ("source", "data") if Path(value := str(source.record.get(key, ""))).is_absolute()
    ]
    # The root folder is in every path, and in every fraction.
    return tuple(dict.fromkeys(str(place) for place in places if place is not None and len(place.parts) > 1))


def _write_model(source: Source, folder: Path, request: _Request) -> ModelFiles:
    if request.destination.hub == "huggingface":
        return write_transformers_files(source.model, folder, trust_remote_code=request.trust_remote_code)
    return write_modelscope_files(
        source.model, folder, self_contained=request.self_contained, trust_remote_code=request.trust_remote_code
    )


def _write_pictures(source: Source, measured: Measured | None, resources: Path) -> list[str]:
    """Writes the curves, their table and the confusion matrix, and returns the names of those that there are."""
    written = []
    for path in (source.curves, source.metrics):
        if path is not None:
            shutil.copyfile(path, resources / path.name)
            written.append(path.name)
    if measured is not None and measured.cells is not None:
        draw_confusion(resources / CONFUSION, measured.cells, measured.class_names)
        written.append(CONFUSION)
    return written


def _copy_shown_pictures(source: Source, folder: Path) -> None:
    """Copies the pictures of the source that its author's card shows."""
    for place in _SHOWN.findall(source.own_words):
        path, target = source.model / place, folder / place
        is_inside = path.resolve().is_relative_to(source.model.resolve()) and ".." not in Path(place).parts
        if is_inside and path.is_file() and path.suffix.lower() in names.PICTURE_SUFFIXES and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _front_matter(source: Source, model: ModelFiles, measured: Measured | None, request: _Request) -> FrontMatter:
    destination, wishes = request.destination, request.wishes
    # The ids in the record of a run are those of ModelScope.
    is_modelscope = destination.hub == "modelscope"
    started_from, data = (str(source.record.get(key, "")) for key in ("source", "data"))
    found_base = started_from if is_modelscope and looks_like_hub_id(started_from) else None
    found_data = (data,) if is_modelscope and looks_like_hub_id(data) else ()
    metrics = {} if measured is None else measured.metrics
    kinds = {name: re.sub(r"_(top-\d+|thr_.*)$", "", name) for name in metrics}
    told = source.front_matter
    return FrontMatter(
        name=destination.name,
        license=wishes.license or str(told.get("license") or OTHER_LICENSE),
        tags=_tags(model),
        datasets=tuple(wishes.datasets) or found_data or _texts(told.get("datasets")),
        metrics=list(dict.fromkeys(kinds.values())) or _texts(told.get("metrics")),
        base_model=wishes.base_model or found_base or next(iter(_texts(told.get("base_model"))), None),
        results=[(kinds[name], name, value / 100) for name, value in metrics.items()],
        measured_on=Path(data).name,
    )


def _texts(value: object) -> tuple[str, ...]:
    """Returns what a card says under a key that holds a text or a list of texts."""
    return tuple(str(one) for one in ([value] if isinstance(value, str) else value if isinstance(value, list) else []))


def _tags(model: ModelFiles) -> list[str]:
    settings = model.settings.model
    kind = {TimmModelSettings: ["timm"], MmclsModelSettings: ["mmcls"]}.get(type(settings), ["vision-transformer"])
    return [*(["beit"] if is_beit(settings) else []), *kind, names.TASK, names.DISTRIBUTION]


def _check_usage(usage: Usage) -> Check:
    if usage.error:
        return Check("code of the card", f"it fails in a new interpreter: {usage.error}", is_right=False)
    lines = usage.output.splitlines()
    return Check("code of the card", f"run in a new interpreter, printed {len(lines)} lines", is_right=True)
