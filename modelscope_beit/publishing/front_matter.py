"""The YAML at the beginning of a card, as each hub reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from modelscope_beit import names
from modelscope_beit.publishing.destination import Destination, Hub

# ModelScope's spelling of a license -> its SPDX identifier in small letters, which is Hugging Face's.
# Source: modelscope_hub.api, of 0.5.
_LICENSES = (
    {
        "Apache License 2.0": "apache-2.0",
        "MIT License": "mit",
        "Unlicense": "unlicense",
    }
    | {
        identifier.upper(): identifier
        for identifier in (
            "gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 afl-3.0 ecl-2.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc0-1.0".split()
        )
    }
    | {"BSD-2-Clause": "bsd-2-clause", "BSD-3-Clause": "bsd-3-clause"}
)
OTHER_LICENSE = "other"

_REQUIRED: dict[Hub, tuple[str, ...]] = {
    "modelscope": ("frameworks", "license", "tasks", "tags"),
    "huggingface": ("library_name", "license", "pipeline_tag", "tags"),
}
# Only the person who publishes can know them.
_USEFUL = ("datasets", "metrics", "base_model")


@dataclass(frozen=True)
class FrontMatter:
    """What the front matter tells.

    license: in any of the two spellings. datasets, base_model: ids of the hub; empty, None if nobody said.
    metrics: names without numbers, e.g. "accuracy". results: (metric, its key, value from 0 to 1), for the model index;
    measured_on: what they were measured on.
    """

    name: str
    license: str
    tags: Sequence[str]
    datasets: Sequence[str] = ()
    metrics: Sequence[str] = ()
    base_model: str | None = None
    results: Sequence[tuple[str, str, float]] = ()
    measured_on: str = ""


def write_front_matter(told: FrontMatter, hub: Hub) -> str:
    """Returns the YAML between its two lines of dashes, with a line end."""
    license_name = license_for(told.license, hub)
    content: dict[str, Any]
    if hub == "modelscope":
        content = {
            "frameworks": ["pytorch"],
            "license": license_name,
            "tasks": [names.TASK],
            "domain": ["cv"],
            "language": ["zh", "en"],
        }
    else:
        content = {
            "library_name": "transformers",
            "license": license_name,
            "pipeline_tag": names.TASK,
            "language": ["en", "zh"],
        }
    content["tags"] = list(told.tags)
    if told.datasets:
        content["datasets"] = list(told.datasets)
    if told.metrics:
        content["metrics"] = list(told.metrics)
    if told.base_model is not None:
        content |= {"base_model": [told.base_model], "base_model_relation": "finetune"}
    if hub == "huggingface" and told.results:
        content["model-index"] = [_model_index(told)]
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"


def license_for(license_name: str, hub: Hub) -> str:
    """Returns a license as a hub spells it; one that is not in the list stays as it is."""
    known = next((pair for pair in _LICENSES.items() if license_name.lower() in (pair[0].lower(), pair[1])), None)
    if known is None:
        return license_name
    return known[0] if hub == "modelscope" else known[1]


def missing_keys(content: Mapping[str, Any], destination: Destination) -> tuple[list[str], list[str]]:
    """Returns the keys without a value: those that the hub needs, and those that are only useful to have."""
    required = [key for key in _REQUIRED[destination.hub] if not content.get(key)]
    return required, [key for key in _USEFUL if not content.get(key)]


def _model_index(told: FrontMatter) -> dict[str, Any]:
    data = {"name": told.measured_on or "unnamed", "type": told.datasets[0] if told.datasets else "imagefolder"}
    metrics = [{"type": metric, "name": key, "value": round(value, 6)} for metric, key, value in told.results]
    task = {"type": names.TASK, "name": "Image Classification"}
    return {"name": told.name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}
