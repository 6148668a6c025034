"""The front matter, read back with a YAML reader, and by huggingface_hub's own class of cards."""

import pytest
import yaml
from huggingface_hub import ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from modelscope_hub.api import _LICENSE_DISPLAY_TO_SPDX

from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.front_matter import FrontMatter, license_for, missing_keys, write_front_matter

TOLD = FrontMatter(
    name="pets",
    license="Apache License 2.0",
    tags=["beit", "no"],
    datasets=["me/pets: 2024"],
    metrics=["accuracy"],
    base_model="damo/cv_beitv2-base",
    results=[("accuracy", "accuracy_top-1", 0.9129)],
    measured_on="宠物 #1",
)
NOTHING = FrontMatter("pets", "other", ["beit"])


def read(text: str) -> dict:
    start, body, rest = text.split("---\n")
    assert (start, rest) == ("", "")
    return yaml.safe_load(body)


def test_write_front_matter__for_modelscope() -> None:
    content = read(write_front_matter(TOLD, "modelscope"))
    assert content["frameworks"] == ["pytorch"] and content["tasks"] == ["image-classification"]
    assert content["license"] == "Apache License 2.0"
    # "no" would be false, had it not been quoted.
    assert content["tags"] == ["beit", "no"] and content["datasets"] == ["me/pets: 2024"]
    assert content["metrics"] == ["accuracy"] and content["base_model"] == ["damo/cv_beitv2-base"]
    assert missing_keys(content, Destination("modelscope", "a/b")) == ([], [])


def test_write_front_matter__for_hugging_face_with_a_model_index() -> None:
    content = read(write_front_matter(TOLD, "huggingface"))
    assert (content["license"], content["library_name"]) == ("apache-2.0", "transformers")
    assert content["pipeline_tag"] == "image-classification"
    # As the hub's client reads a card, which raises for an index that it does not understand.
    name, (result,) = model_index_to_eval_results(content["model-index"])
    assert (name, result.dataset_name, result.metric_value) == ("pets", "宠物 #1", 0.9129)
    assert (result.task_type, result.metric_type, result.metric_name) == (
        "image-classification",
        "accuracy",
        "accuracy_top-1",
    )
    card = ModelCardData(**{key: value for key, value in content.items() if key != "model-index"})
    assert card.to_dict()["base_model"] == ["damo/cv_beitv2-base"]


def test_write_front_matter__leaves_out_what_nobody_said() -> None:
    for hub in ("modelscope", "huggingface"):
        content = read(write_front_matter(NOTHING, hub))
        assert "model-index" not in content
        assert missing_keys(content, Destination(hub, "a/b")) == ([], ["datasets", "metrics", "base_model"])


def test_missing_keys__names_what_the_hub_needs() -> None:
    assert missing_keys({"tasks": ["x"]}, Destination("modelscope", "a/b"))[0] == ["frameworks", "license", "tags"]


@pytest.mark.parametrize(
    ("told", "modelscope", "huggingface"),
    [
        ("Apache License 2.0", "Apache License 2.0", "apache-2.0"),
        ("apache-2.0", "Apache License 2.0", "apache-2.0"),
        ("MIT", "MIT License", "mit"),
        ("bsd-3-clause", "BSD-3-Clause", "bsd-3-clause"),
        ("other", "other", "other"),
        ("My Own License", "My Own License", "My Own License"),
    ],
)
def test_license_for__is_spelt_as_each_hub_does(told: str, modelscope: str, huggingface: str) -> None:
    assert license_for(told, "modelscope") == modelscope
    assert license_for(told, "huggingface") == huggingface


def test_license_for__knows_what_the_hubs_client_knows() -> None:
    for name, identifier in _LICENSE_DISPLAY_TO_SPDX.items():
        assert license_for(identifier, "modelscope") == name and license_for(name, "huggingface") == identifier
