"""The YAML at the beginning of a card, as each hub reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from modelscope_beit import names
from modelscope_beit.publishing.destination import Destination, Hub

# ModelScope tells licenses by their names, Hugging Face by their SPDX identifiers in small letters.
_LICENSES = {
    "Apache License 2.0": "apache-2.0",
    "MIT License": "mit",
    "BSD 3-Clause License": "bsd-3-clause",
    "GNU General Public License v3.0": "gpl-3.0",
    "Creative Commons Attribution 4.0": "cc-by-4.0",
    "Creative Commons Attribution Share Alike 4.0": "cc-by-sa-4.0",
    "Creative Commons Attribution Non Commercial 4.0": "cc-by-nc-4.0",
}
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
    """Returns a license as a hub spells it; one that neither of the two lists knows stays as it is."""
    by_identifier = {identifier: name for name, identifier in _LICENSES.items()}
    if hub == "modelscope":
        return by_identifier.get(license_name.lower(), license_name)
    return _LICENSES.get(license_name, license_name.lower() if license_name.lower() in by_identifier else license_name)


def missing_keys(content: Mapping[str, Any], destination: Destination) -> tuple[list[str], list[str]]:
    """Returns the keys without a value: those that the hub needs, and those that are only useful to have."""
    required = [key for key in _REQUIRED[destination.hub] if not content.get(key)]
    return required, [key for key in _USEFUL if not content.get(key)]


def _model_index(told: FrontMatter) -> dict[str, Any]:
    data = {"name": told.measured_on or "unnamed", "type": told.datasets[0] if told.datasets else "imagefolder"}
    metrics = [{"type": metric, "name": key, "value": round(value, 6)} for metric, key, value in told.results]
    task = {"type": names.TASK, "name": "Image Classification"}
    return {"name": told.name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}
