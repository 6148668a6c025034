"""What a rule gets to know: beside the files, the pictures and the machine that it is told of."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import helpers
import training_jobs
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.data.streamed import StreamedRecords
from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.recipe_rules.facts import Facts
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.recipe_facts import gather_facts

CLASSES = training_jobs.CLASSES


def gather(folder: Path, rows: list[dict[str, Any]], class_names: tuple[str, ...] = CLASSES, **train: Any) -> Facts:
    settings, recipe = read_recipe(training_jobs.configuration(train), where="x")
    records = records_of(rows, class_names=class_names)
    return gather_facts(settings, recipe, folder / "pytorch_model.pt", helpers.TINY_CLASSES, records, {"a": 1})


def test_gather_facts__of_data(tmp_path: Path) -> None:
    rows = training_jobs.crops(10) + [{"image": Image.new("RGB", (300, 200)), "label": 0} for _ in range(20)]
    found = gather(tmp_path, rows)
    assert found.given == {"a": 1}
    data = found.data
    assert (data.num_train, data.smallest, data.largest, data.is_multi_label) == (30, 3, 24, False)
    assert data.picture_size == (200, 300), "two thirds of them are 300 wide and 200 high"
    assert not data.has_signs


def test_gather_facts__passes_over_what_is_no_picture(tmp_path: Path) -> None:
    rows = training_jobs.crops(3)
    rows[1]["image"] = {"bytes": b"no picture", "path": "broken.jpg"}
    assert gather(tmp_path, rows).data.picture_size == (80, 80)
    for row in rows:
        row["image"] = {"bytes": b"no picture", "path": "broken.jpg"}
    assert gather(tmp_path, rows).data.picture_size is None


def test_gather_facts__signs(tmp_path: Path) -> None:
    assert gather(tmp_path, training_jobs.crops(3), ("0", "7", "Z")).data.has_signs


def test_gather_facts__a_class_without_pictures_is_not_the_smallest(tmp_path: Path) -> None:
    rows = [row for row in training_jobs.crops(9) if row["label"] != 1]
    assert gather(tmp_path, rows).data.smallest == 3


def test_gather_facts__of_the_start(tmp_path: Path) -> None:
    start = gather(tmp_path, training_jobs.crops(3)).start
    assert (start.width, start.depth, start.image_size) == (32, 2, (32, 32))
    assert [step["type"] for step in start.val_steps][-2:] == ["ImageToTensor", "Collect"]
    assert start.lineage == "fine-tuned"


@pytest.mark.parametrize(
    ("folder", "card", "lineage"),
    [
        ("model", "| Source | beitv2_base_patch16_224_pt1k.pth: BEiT v2 |", "self-supervised"),
        ("model", "Compare it with beitv2_base_patch16_224_pt1k_ft21k.", "fine-tuned"),
        ("cv_beitv2-base_pt1k", None, "self-supervised"),
        ("cv_beitv2-base_pt1k", "| Fine-tuned from | damo/cv_beitv2-base_pt1k, pytorch_model.pt |", "fine-tuned"),
    ],
)
def test_gather_facts__lineage_by_card_and_names(tmp_path: Path, folder: str, card: str | None, lineage: str) -> None:
    (tmp_path / folder).mkdir()
    if card is not None:
        (tmp_path / folder / "README.md").write_text(f"# A model\n\n| | |\n{card}\n")
    assert gather(tmp_path / folder, training_jobs.crops(3)).start.lineage == lineage


def test_gather_facts__of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    device = gather(tmp_path, training_jobs.crops(3), precision="fp32").device
    assert (device.num_processes, device.precision, device.measured_size) == (2, "fp32", (32, 32))
    # Weights, gradients and Adam's two tensors, four bytes each, are there whatever the batch.
    settings, _ = read_recipe(training_jobs.configuration(), where="x")
    assert isinstance(settings.model, ModelSettings)
    weights = sum(weight.numel() for weight in build_classifier(settings.model, device="meta").parameters())
    assert device.fixed_bytes >= 16 * weights
    assert device.bytes_per_picture > 4 * 3 * 32 * 32
    if not torch.cuda.is_available():
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert device.free_bytes is not None and 0 < device.free_bytes < total


def test_gather_facts__a_stream_has_no_size(tmp_path: Path) -> None:
    settings, recipe = read_recipe(training_jobs.configuration(), where="x")
    stream = StreamedRecords(
        lambda seed: iter(()), ("image", "label"), CLASSES, is_multi_label=False, description="a tap"
    )
    with pytest.raises(SettingsError, match="a tap is a stream of unknown length.*a recipe of your own"):
        gather_facts(settings, recipe, tmp_path / "x.pt", None, stream, {})
