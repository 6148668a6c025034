"""The README.md of a model folder: the front matter that the hub reads, then what a person wants to know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from modelscope_beit import __version__, names
from modelscope_beit.settings.any_model import AnyModelSettings
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.foreign_models import MmclsModelSettings, TimmModelSettings
from modelscope_beit.settings.foreign_steps import Preprocessing, write_preprocessing
from modelscope_beit.settings.model import BackboneSettings

# Steps that change no pixel.
_PLUMBING = ("LoadImageFromFile", "ImageToTensor", "Collect")
_POOLING = {
    "mean": "mean of the patch tokens",
    "class_token": "class token",
    "two_tokens": "class token and distillation token",
}


@dataclass(frozen=True)
class Origin:
    """Where the weights of a folder come from.

    description: what they are, as a noun phrase. digest: "sha256:..." of the file they were read from.
    license: as the hub spells it, e.g. "Apache License 2.0"; "other" if nobody said.
    """

    description: str
    digest: str
    license: str = "other"


def write_card(title: str, settings: FolderSettings, class_names: tuple[str, ...], origin: Origin) -> str:
    """Returns the text of a model card; title: one line, e.g. the name of the folder."""
    rows = {
        "Network": architecture_in_words(settings.model),
        "Input": "; ".join(steps_in_words(settings.preprocessing)),
        "Classes": f"{len(class_names)}: {some_names(class_names)}",
    }
    return card_page(title, names.TASK, rows, origin, USAGE)


def card_page(title: str, task: str, rows: Mapping[str, str], origin: Origin, usage: str) -> str:
    """Returns the text of a card of any kind of model.

    task: as the hub spells it. rows: heading -> text, beside what is told of the origin. usage: the last section.
    """
    front_matter = "\n".join(
        [
            "---",
            "frameworks:",
            "- pytorch",
            # A JSON string is a YAML string, whatever is in it.
            f"license: {json.dumps(origin.license, ensure_ascii=False)}",
            "tasks:",
            f"- {task}",
            "---",
        ]
    )
    told = {"Source": origin.description, "Digest of the source": origin.digest, **rows}
    told["Written by"] = f"{names.DISTRIBUTION} {__version__}"
    table = "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {_cell(text)} |" for name, text in told.items())])
    license_line = (
        "Nobody said under which license the weights are; ask where they come from.\n\n"
        if origin.license == "other"
        else ""
    )
    return f"{front_matter}\n\n# {title}\n\n{table}\n\n{license_line}{usage}"


USAGE = f"""## Use

```python
import modelscope_beit
from modelscope.pipelines import pipeline

classify = pipeline("{names.TASK}", model="this/folder")
print(classify("picture.jpg"))
```

```
pip install {names.DISTRIBUTION}
{names.COMMAND} predict this/folder picture.jpg
```
"""


def architecture_in_words(model: AnyModelSettings) -> str:
    """Returns one line about a network, e.g. "12 blocks of width 768, 12 heads, patches of 16 on 224x224 pixels"."""
    if isinstance(model, TimmModelSettings):
        return f"{model.model_name} of timm, mean of its last feature map ({model.width} channels)"
    if isinstance(model, MmclsModelSettings):
        parts = [model.mm_model.get(name) for name in ("backbone", "neck", "head")]
        return f"{', '.join(str(part['type']) for part in parts if isinstance(part, dict))} of mmcls"
    hidden = "" if model.hidden_width is None else f", hidden layer of width {model.hidden_width}"
    return f"{backbone_in_words(model.backbone)}, {_POOLING[model.backbone.pooling]}{hidden}"


def backbone_in_words(backbone: BackboneSettings) -> str:
    """Returns one line about a network without its head."""
    height, width = backbone.image_size
    return (
        f"{backbone.depth} blocks of width {backbone.width}, {backbone.num_heads} heads, "
        f"patches of {backbone.patch_size} on {height}x{width} pixels, {_positions(backbone)}"
    )


def steps_in_words(steps: Preprocessing) -> list[str]:
    """Returns one line for each step that changes the picture, e.g. "CenterCrop crop_size 224"."""
    lines = []
    for step in write_preprocessing(steps):
        if step["type"] not in _PLUMBING:
            values = ", ".join(f"{name} {_short(value)}" for name, value in step.items() if name != "type")
            lines.append(f"{step['type']} {values}".strip())
    return lines


def some_names(class_names: tuple[str, ...], count: int = 5) -> str:
    """Returns the first few class names, with dots if there are more."""
    return "; ".join([*class_names[:count], *(["..."] if len(class_names) > count else [])])


def _positions(backbone: BackboneSettings) -> str:
    kinds = {"per_layer": ["relative positions per block"], "shared": ["relative positions shared by all blocks"]}
    found = kinds.get(backbone.relative_position, []) + ["absolute positions"] * backbone.absolute_position
    return " and ".join(found) or "no positions"


def _short(value: object) -> str:
    return f"({', '.join(map(str, value))})" if isinstance(value, list | tuple) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
