"""What is in a folder for semantic segmentation, for people and programs, without running the network."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.checkpoints.segmentation import open_segmentation_source, segmentation_network_with
from modelscope_beit.model_folder.card import some_names, steps_in_words
from modelscope_beit.model_folder.segmentation import open_segmentation, segmentation_in_words, segmentation_kind
from modelscope_beit.settings.preprocessing import Step, write_steps
from modelscope_beit.settings.segmentation import SegmentationSettings


@dataclass(frozen=True)
class SegmentationDescription:
    """What a folder for semantic segmentation is.

    title: one line. num_parameters: weights that training changes, without a head for training only. class_names: None
    where they are only numbered. note: what opens the folder.
    """

    path: Path
    title: str
    settings: SegmentationSettings
    num_parameters: int
    class_names: tuple[str, ...] | None
    preprocessing: tuple[Step, ...]
    weights: Path
    digest: str
    note: str

    def in_words(self) -> dict[str, str]:
        """Returns heading -> text, in the order in which a person reads it."""
        count = f"{self.settings.num_classes}"
        return {
            "what": self.title,
            "network": segmentation_in_words(self.settings),
            "parameters": f"{self.num_parameters:,}",
            "classes": f"{count}: {some_names(self.class_names)}" if self.class_names else f"{count}, without names",
            "input": "\n".join(steps_in_words(self.preprocessing)),
            "weights": f"{self.weights.name}, {self.digest}",
            "note": self.note,
        }

    def as_json(self) -> dict[str, object]:
        """Returns the same for programs: plain values, all class names."""
        return {
            "path": str(self.path),
            "title": self.title,
            "task": names.SEGMENTATION_TASKS[0],
            "network": dataclasses.asdict(self.settings),
            "num_parameters": self.num_parameters,
            "class_names": None if self.class_names is None else list(self.class_names),
            "preprocessing": write_steps(self.preprocessing),
            "weights": self.weights.name,
            "digest": self.digest,
            "notes": [self.note],
        }


def describe_segmentation(path: Path) -> SegmentationDescription:
    """Returns what a folder holds that `beit convert` wrote, or one of transformers' BeitForSemanticSegmentation.

    Raises CheckpointError or SettingsError for what cannot be read, as opening it would.
    """
    if segmentation_kind(path) == "transformers":
        source = open_segmentation_source(path)
        network = segmentation_network_with(source.settings, source.tensors, str(source.weights))
        weights, title = source.weights, source.title
        class_names, steps = source.class_names, source.preprocessing
        note = f"{names.COMMAND} convert {path} FOLDER makes a folder that ModelScope's pipeline() opens."
    else:
        opened = open_segmentation(path)
        network, weights, title = opened.network, path / names.SEGMENTATION_WEIGHT_FILE, "ModelScope folder"
        class_names, steps = opened.settings.class_names, opened.settings.preprocessing
        note = f"Open it with ModelScope's pipeline({names.SEGMENTATION_TASKS[0]!r}, model={str(path)!r})."
    return SegmentationDescription(
        path=path,
        title=f"{weights.name}: {title}, semantic segmentation",
        settings=network.settings,
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        class_names=class_names,
        preprocessing=steps,
        weights=weights,
        digest=file_digest(weights),
        note=note,
    )
