"""From a folder of transformers' BeitForSemanticSegmentation to one that pipeline() opens, with a proof."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest, write_weights
from modelscope_beit.checkpoints.proof import Proof
from modelscope_beit.checkpoints.segmentation import SegmentationSource, open_segmentation_source
from modelscope_beit.checkpoints.segmentation_proof import prove_segmentation
from modelscope_beit.errors import CheckpointError, ModelFolderError, SettingsError
from modelscope_beit.model_folder.card import Origin, card_page, some_names, steps_in_words
from modelscope_beit.model_folder.conversion import ConversionRequest
from modelscope_beit.model_folder.label_files import check_label_count, read_labels
from modelscope_beit.model_folder.segmentation import open_segmentation, segmentation_in_words, segmentation_kind
from modelscope_beit.model_folder.writing import check_target, written_as_a_whole
from modelscope_beit.settings.segmentation import SegmentationFolderSettings, write_segmentation_configuration

USAGE = f"""## Use

```python
import modelscope_beit
from modelscope.pipelines import pipeline

segment = pipeline("{names.SEGMENTATION_TASKS[0]}", model="this/folder")
result = segment("picture.jpg")
print(result["labels"], result["scores"])
```

`result["masks"]` has one mask for each label, (height, width) of 0 and 1, the largest first; a score is the mean
probability over the mask. `result["class_map"]` has the number of the class of every pixel.
"""


@dataclass(frozen=True)
class SegmentationConverted:
    """What was done. names_origin: where the class names come from, in words. proof: comparison with transformers."""

    source: SegmentationSource
    folder: Path
    settings: SegmentationFolderSettings
    names_origin: str
    proof: Proof

    def in_words(self) -> dict[str, str]:
        """Returns heading -> text, in the order in which a person reads it, without the proof."""
        source = self.source
        return {
            "source": f"{source.weights.name}: {source.title}",
            "digest": source.digest,
            "keys": f"{len(source.mapped)} mapped, {len(source.dropped)} dropped (the logits do not need them)",
            "network": segmentation_in_words(self.settings.model),
            "classes": f"{len(self.settings.class_names):,}, names from {self.names_origin}",
            "read back": f"{len(source.tensors)} tensors, bit for bit what was to be written",
            "written": f"{names.SEGMENTATION_WEIGHT_FILE}, {file_digest(self.folder / names.SEGMENTATION_WEIGHT_FILE)}",
        }


def convert_segmentation(source_path: Path, target: Path, request: ConversionRequest) -> SegmentationConverted:
    """Writes a folder for ModelScope, reads it back and returns the proof that it is the same.

    Of the request, labels and overwrite count. The weights have our names, so that they are read strictly without a
    table, and their backbone is named like that of every other folder of ours.
    Raises SettingsError for what is asked for beyond that, CheckpointError, SettingsError or UntrustedCodeError for the
    source, ModelFolderError for the target and for missing class names; then nothing was written.
    """
    target = target.expanduser().absolute()
    _check_request(source_path, request)
    check_target(target, overwrite=request.overwrite)
    source = open_segmentation_source(source_path)
    class_names, names_origin = _class_names(source, request.labels)
    settings = SegmentationFolderSettings(source.settings, source.preprocessing, class_names)
    # Before writing, which may replace the very file.
    proof = prove_segmentation(source)
    with written_as_a_whole(target) as unfinished:
        _write_files(unfinished, target.name, settings, source)
    _check_written(target, source)
    return SegmentationConverted(source, target, settings, names_origin, proof)


def _check_request(source_path: Path, request: ConversionRequest) -> None:
    if segmentation_kind(source_path) == "modelscope":
        raise ModelFolderError(
            f"{source_path} is a folder for ModelScope's pipeline({names.SEGMENTATION_TASKS[0]!r}) already; such a "
            "folder cannot be converted to anything else."
        )
    asked = {
        "to": request.to if request.to != "modelscope" else None,
        "size": request.image_size,
        "family": request.family,
        "num-classes": request.num_classes,
    }
    refused = [f"--{name}" for name, value in asked.items() if value is not None]
    if refused:
        raise SettingsError(
            f"{source_path} is a model for semantic segmentation, which becomes a ModelScope folder as it is: "
            f"{', '.join(refused)} cannot be used with it. Its network takes pictures of any size."
        )


def _class_names(source: SegmentationSource, labels: Path | None) -> tuple[tuple[str, ...], str]:
    """Returns the names and, in words, where they come from."""
    num_classes = source.settings.num_classes
    if labels is not None:
        return read_labels(labels, num_classes=num_classes), str(labels)
    if source.class_names is None:
        raise ModelFolderError(
            f"{source.path} does not say what its {num_classes} classes are called; give --labels FILE with one name "
            "a line."
        )
    check_label_count(source.class_names, num_classes, str(source.path))
    return source.class_names, "the source"


def _write_files(folder: Path, title: str, settings: SegmentationFolderSettings, source: SegmentationSource) -> None:
    text = json.dumps(write_segmentation_configuration(settings), indent=2, ensure_ascii=False) + "\n"
    (folder / names.CONFIGURATION_FILE).write_text(text, encoding="utf-8")
    write_weights(folder / names.SEGMENTATION_WEIGHT_FILE, source.tensors)
    rows = {
        "Network": segmentation_in_words(settings.model),
        "Input": "; ".join(steps_in_words(settings.preprocessing)),
        "Classes": f"{len(settings.class_names)}: {some_names(settings.class_names)}",
    }
    origin = Origin(f"{source.weights.name}: {source.title}", source.digest)
    card = card_page(title, names.SEGMENTATION_TASKS[0], rows, origin, USAGE)
    (folder / names.CARD_FILE).write_text(card, encoding="utf-8")


def _check_written(folder: Path, source: SegmentationSource) -> None:
    """Opens what was written; raises CheckpointError unless it holds the very numbers that were to be written."""
    written = open_segmentation(folder).network.state_dict()
    different = [key for key, tensor in source.tensors.items() if not torch.equal(tensor, written[key])]
    if different:
        raise CheckpointError(
            f"{folder} was written, but reading it back gives other numbers for {', '.join(different[:5])}. "
            "Check the disk, and do not use what was written."
        )
