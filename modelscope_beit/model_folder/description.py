"""What is in a model folder or a weight file, for people and programs, without running the network."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest, read_weights
from modelscope_beit.checkpoints.source import open_source, read_folder_configuration
from modelscope_beit.checkpoints.timm_files import read_timm_file
from modelscope_beit.checkpoints.timm_networks import TimmSource, open_timm_source
from modelscope_beit.model_folder.card import architecture_in_words, steps_in_words
from modelscope_beit.model_folder.opening import find_class_names, find_weight_file, read_folder_settings
from modelscope_beit.settings.any_model import AnyModelSettings
from modelscope_beit.settings.confidence import Confidence, write_confidence
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.foreign_steps import ForeignSteps, Preprocessing, write_preprocessing
from modelscope_beit.settings.model import ModelSettings

# What batch normalisation and SeesawLoss count while training goes on, and what Swin looks up.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "cum_samples")
_TABLES = ("relative_position_index", "relative_coords_table")


@dataclass(frozen=True)
class Description:
    """What a model folder or a weight file is.

    title: one line. num_parameters: weights that training changes. class_names: None where the file has none.
    files: name -> bytes, of a folder those of its first level. digest: of the weight file. notes: what to know first.
    confidence: what beit calibrate has stored.
    """

    path: Path
    title: str
    settings: AnyModelSettings
    num_parameters: int
    class_names: tuple[str, ...] | None
    preprocessing: Preprocessing
    layout: str
    weights: Path
    digest: str
    files: dict[str, int]
    notes: tuple[str, ...] = ()
    confidence: Confidence | None = None

    def in_words(self) -> dict[str, str]:
        """Returns heading -> text, in the order in which a person reads it."""
        scores = {} if self.confidence is None else {"scores": self._confidence_in_words(self.confidence)}
        return {
            "what": self.title,
            "network": architecture_in_words(self.settings),
            "parameters": f"{self.num_parameters:,}",
            "classes": self._classes_in_words(),
            "input": "\n".join(steps_in_words(self.preprocessing)),
            **scores,
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
            "preprocessing": write_preprocessing(self.preprocessing),
            "layout": self.layout,
            "weights": self.weights.name,
            "digest": self.digest,
            "files": self.files,
            "notes": list(self.notes),
            **({} if self.confidence is None else {"confidence": write_confidence(self.confidence)}),
        }

    def _confidence_in_words(self, confidence: Confidence) -> str:
        if confidence.weights == self.digest:
            return confidence.in_words()
        return f"{confidence.in_words()}\nnot applied: that is for other weights, {confidence.weights}"

    def _classes_in_words(self) -> str:
        if self.class_names is None:
            return f"{self.settings.num_classes}, without names"
        first = self.class_names[:5]
        dots = ["..."] if len(self.class_names) > len(first) else []
        return "\n".join([f"{self.settings.num_classes}", *first, *dots])


def describe(path: Path, *, trust_remote_code: bool = False) -> Description:
    """Returns what a weight file, a model folder, or a folder of transformers or timm holds.

    trust_remote_code: run a config.py, which goes before configuration.json; otherwise it is passed over, and noted.
    Raises CheckpointError, ModelFolderError or SettingsError for what cannot be read, as opening it would.
    """
    has_code = (path / names.MM_CONFIGURATION_FILE).is_file()
    if has_code and trust_remote_code:
        configuration: FolderSettings | None = read_folder_settings(path, trust_remote_code=True)
    else:
        configuration = read_folder_configuration(path)
    notes = (_note_on_code(was_run=trust_remote_code),) if has_code else ()
    if configuration is not None and not _is_native(configuration):
        return _describe_foreign(path, configuration, notes)
    if configuration is None and (by_timm := read_timm_file(path)) is not None:
        return _describe_timm(path, open_timm_source(by_timm))
    source = open_source(path, configuration=configuration)
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
        files=_files(path),
        notes=notes,
        confidence=None if configuration is None else configuration.confidence,
    )


def _describe_foreign(folder: Path, configuration: FolderSettings, notes: tuple[str, ...]) -> Description:
    """Describes a folder that timm or mmcls has parts in, by its files; neither needs to be installed."""
    weights = read_weights(find_weight_file(folder))
    trained = [tensor for key, tensor in weights.tensors.items() if not key.endswith((*_STATISTICS, *_TABLES))]
    num_parameters = sum(tensor.numel() for tensor in trained)
    classes = configuration.model.num_classes
    return Description(
        path=folder,
        title=f"{weights.path.name}: ModelScope folder; {classes} classes, {num_parameters / 1e6:.1f} M parameters",
        settings=configuration.model,
        num_parameters=num_parameters,
        class_names=find_class_names(folder, configuration, weights),
        preprocessing=configuration.preprocessing,
        layout="that of the library that builds the network",
        weights=weights.path,
        digest=file_digest(weights.path),
        files=_files(folder),
        notes=notes,
        confidence=configuration.confidence,
    )


def _describe_timm(path: Path, source: TimmSource) -> Description:
    """Describes a file or folder of timm whose network timm builds."""
    note = f"{names.COMMAND} convert {path} FOLDER makes a folder that ModelScope's pipeline() opens."
    fresh = f"It has no classifier; {names.COMMAND} convert gives it a fresh one for the classes of --labels FILE."
    return Description(
        path=path,
        title=source.description,
        settings=source.settings,
        num_parameters=sum(weight.numel() for weight in source.theirs.parameters()),
        class_names=source.class_names,
        preprocessing=source.preprocessing,
        layout="timm",
        weights=source.weights,
        digest=source.digest,
        files=_files(path),
        notes=(fresh if source.initialised else note,),
    )


def _is_native(configuration: FolderSettings) -> bool:
    return isinstance(configuration.model, ModelSettings) and not isinstance(configuration.preprocessing, ForeignSteps)


def _files(path: Path) -> dict[str, int]:
    """Returns name -> bytes."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.name: file.stat().st_size for file in files if file.is_file()}


def _note_on_code(*, was_run: bool) -> str:
    if was_run:
        return f"{names.MM_CONFIGURATION_FILE} is Python code. It was run; above is what it says."
    return (
        f"{names.MM_CONFIGURATION_FILE} is Python code. It was not run, and the folder opens only with "
        f"trust_remote_code=True; above is what {names.CONFIGURATION_FILE} says."
    )
