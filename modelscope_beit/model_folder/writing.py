"""Writes a model folder: as a whole or not at all, in the layout that ModelScope's stock classes read."""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from modelscope_beit import names
from modelscope_beit.checkpoints.convert import from_native
from modelscope_beit.checkpoints.files import write_weights
from modelscope_beit.checkpoints.key_tables import MMCLS_VIT, MODELSCOPE
from modelscope_beit.errors import ModelFolderError
from modelscope_beit.model_folder.label_files import check_label_count, write_labels
from modelscope_beit.settings.configuration import FolderSettings, write_configuration
from modelscope_beit.settings.mm_backbone import is_vision_transformer
from modelscope_beit.settings.model import ModelSettings

# What a folder may hold that is replaced on request. Anything else in it means that it is not only a model.
_OWN_FILES = {
    names.CONFIGURATION_FILE,
    names.CLASS_NAMES_FILE,
    names.CARD_FILE,
    *names.WEIGHT_FILES,
}


def write_model_folder(
    folder: str | Path,
    settings: FolderSettings,
    tensors: Mapping[str, Tensor],
    *,
    card: str,
    overwrite: bool = False,
) -> Path:
    """Writes a model folder and returns its path.

    settings: with the class names. tensors: the network's state dict. card: the text of README.md.
    overwrite: replace a folder that holds a model and nothing else.

    The class names go to the weight file and to classname.txt, not into configuration.json: ModelScope's stock
    trainer takes the names there for those of the training data. The folder is written beside its place and then
    renamed, so a failure leaves what was there. Raises ModelFolderError if the folder may not be replaced or the
    number of class names is not that of the head; OSError if the disk refuses.
    """
    folder = Path(folder).expanduser().absolute()
    check_target(folder, overwrite=overwrite)
    if settings.class_names is None:
        raise ModelFolderError(f"A model folder needs class names, but none were given for {folder}.")
    check_label_count(settings.class_names, settings.model.num_classes, "The settings")
    with written_as_a_whole(folder) as unfinished:
        _write_files(unfinished, settings, settings.class_names, tensors, card)
    return folder


@contextmanager
def written_as_a_whole(folder: Path) -> Iterator[Path]:
    """Gives an empty folder beside the place, which takes the place at the end, or is removed after an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Not mkdtemp, whose folders only their owner can read.
    unfinished = folder.with_name(f".{folder.name}-unfinished-{uuid.uuid4().hex[:8]}")
    unfinished.mkdir()
    try:
        yield unfinished
        _move_into_place(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Raises ModelFolderError if a model folder may not be written here. Call it before long work."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ModelFolderError(f"{folder} is a file; give the name of a new folder.")
    present = sorted(path.name for path in folder.iterdir())
    if present and not overwrite:
        raise ModelFolderError(
            f"{folder} exists and is not empty (it holds {', '.join(present[:5])}); give a new folder, or overwrite."
        )
    strangers = [name for name in present if name not in _OWN_FILES]
    if strangers:
        raise ModelFolderError(
            f"{folder} would be replaced, but it holds more than a model: {', '.join(strangers[:5])}. "
            "Move these away, or give a new folder."
        )


def _write_files(
    folder: Path,
    settings: FolderSettings,
    class_names: Sequence[str],
    tensors: Mapping[str, Tensor],
    card: str,
) -> None:
    configuration = write_configuration(replace(settings, class_names=None, class_names_file=None))
    text = json.dumps(configuration, indent=2, ensure_ascii=False) + "\n"
    (folder / names.CONFIGURATION_FILE).write_text(text, encoding="utf-8")
    write_labels(class_names, folder / names.CLASS_NAMES_FILE)
    (folder / names.CARD_FILE).write_text(card, encoding="utf-8")
    # The names of the stock class that the configuration asks for: ours are those of its BEiTv2.
    if isinstance(settings.model, ModelSettings):
        layout = MMCLS_VIT if is_vision_transformer(settings.model.backbone) else MODELSCOPE
        tensors = from_native(tensors, layout)
    write_weights(folder / names.WRITTEN_WEIGHT_FILE, tensors, {"CLASSES": list(class_names)})


def _move_into_place(unfinished: Path, folder: Path) -> None:
    """Renames a finished folder to its name. An old folder is set aside first and removed last."""
    if not folder.exists():
        unfinished.rename(folder)
        return
    aside = folder.with_name(f".{folder.name}-replaced-{uuid.uuid4().hex[:8]}")
    folder.rename(aside)
    try:
        unfinished.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)
