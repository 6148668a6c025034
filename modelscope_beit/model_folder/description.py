"""What is in a model folder or a weight file, for people and programs, without running the network."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.checkpoints.source import open_source
from modelscope_beit.model_folder.card import architecture_in_words, steps_in_words
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.preprocessing import Step, write_steps


@dataclass(frozen=True)
class Description:
    """What a model folder or a weight file is.

    title: one line. num_parameters: weights that training changes. class_names: None where the file has none.
    files: name -> bytes, of a folder those of its first level. digest: of the weight file. notes: what to know first.
    """

    path: Path
    title: str
    settings: ModelSettings
    num_parameters: int
    class_names: tuple[str, ...] | None
    preprocessing: tuple[Step, ...]
    layout: str
    weights: Path
    digest: str
    files: dict[str, int]
    notes: tuple[str, ...] = ()

    def in_words(self) -> dict[str, str]:
        """Returns heading -> text, in the order in which a person reads it."""
        return {
            "what": self.title,
            "network": architecture_in_words(self.settings),
            "parameters": f"{self.num_parameters:,}",
            "classes": self._classes_in_words(),
            "input": "\n".join(steps_in_words(self.preprocessing)),
            "key names": self.layout,
            "weights": f"{self.weights.name}, {self.digest}",
            "files": "\n".join(f"{name}, {size:,} bytes" for name, size in self.files.items()),
        } | ({"note": "\n".join(self.notes)} if self.notes else {})

    def as_json(self) -> dict[str, object]:
        """Returns the same for programs: plain values, all class names."""
        return {
            "path": str(self.path),
            "title": self.title,
            "network": dataclasses.asdict(self.settings),
            "num_parameters": self.num_parameters,
            "class_names": None if self.class_names is None else list(self.class_names),
            "preprocessing": write_steps(self.preprocessing),
            "layout": self.layout,
            "weights": self.weights.name,
            "digest": self.digest,
            "files": self.files,
            "notes": list(self.notes),
        }

    def _classes_in_words(self) -> str:
        if self.class_names is None:
            return f"{self.settings.num_classes}, without names"
        first = self.class_names[:5]
        dots = ["..."] if len(self.class_names) > len(first) else []
        return "\n".join([f"{self.settings.num_classes}", *first, *dots])


def describe(path: Path) -> Description:
    """Returns what a weight file, a model folder, or a folder of transformers or timm holds.

    Raises CheckpointError or SettingsError for what cannot be read, as opening it would.
    """
    source = open_source(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return Description(
        path=path,
        title=source.description,
        settings=source.settings,
        num_parameters=sum(tensor.numel() for tensor in source.tensors.values()),
        class_names=source.class_names,
        preprocessing=source.preprocessing,
        layout=source.layout,
        weights=source.weights,
        digest=source.digest,
        files={file.name: file.stat().st_size for file in files if file.is_file()},
        notes=tuple(_notes(path)),
    )


def _notes(path: Path) -> list[str]:
    if not (path / names.MM_CONFIGURATION_FILE).is_file():
        return []
    return [
        f"{names.MM_CONFIGURATION_FILE} is Python code. It was not run, and the folder opens only with "
        f"trust_remote_code=True; above is what {names.CONFIGURATION_FILE} says."
    ]
