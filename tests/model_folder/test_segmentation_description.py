import json
from pathlib import Path

from modelscope_beit.model_folder.segmentation_description import describe_segmentation
from segmentation_models import LABELS, transformers_segmentation, write_our_folder


def test_describe_segmentation__both_kinds_tell_the_same_network(tmp_path: Path) -> None:
    ours = describe_segmentation(write_our_folder(tmp_path / "ours"))
    theirs = describe_segmentation(tmp_path / "theirs")
    assert ours.settings == theirs.settings and ours.class_names == theirs.class_names == LABELS
    model = transformers_segmentation()
    needed = [weight for key, weight in model.named_parameters() if not key.startswith("auxiliary_head")]
    assert ours.num_parameters == theirs.num_parameters == sum(weight.numel() for weight in needed)
    assert f"beit convert {tmp_path / 'theirs'} FOLDER" in theirs.note
    assert "pipeline('semantic-segmentation'" in ours.note


def test_describe_segmentation__in_words_and_for_programs(tmp_path: Path) -> None:
    description = describe_segmentation(write_our_folder(tmp_path / "ours"))
    words = description.in_words()
    assert words["classes"] == "5: wall; sky; red fox, Vulpes vulpes; 中文; floor"
    assert "UPerNet" in words["network"] and "Resize size (32, 32)" in words["input"]
    content = json.loads(json.dumps(description.as_json()))
    assert content["task"] == "semantic-segmentation" and content["class_names"] == [*LABELS]
    assert content["network"]["feature_blocks"] == [-1, 0, 1, 2]


def test_describe_segmentation__without_names(tmp_path: Path) -> None:
    write_our_folder(tmp_path / "ours")
    config = tmp_path / "theirs" / "config.json"
    content = json.loads(config.read_text())
    content["id2label"] = {str(number): f"LABEL_{number}" for number in range(5)}
    config.write_text(json.dumps(content))
    assert describe_segmentation(tmp_path / "theirs").in_words()["classes"] == "5, without names"
