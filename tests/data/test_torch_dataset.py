from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset

from modelscope_beit.data.torch_dataset import read_torch_dataset
from modelscope_beit.errors import SettingsError


class Pairs(Dataset):
    """Pictures (value, value, value) with the label of their row; counts how often a row was read."""

    def __init__(self, labels: list[Any], **attributes: Any) -> None:
        self.labels = labels
        self.reads = 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Image.Image, Any]:
        self.reads += 1
        return Image.new("RGB", (8, 8), (row, row, row)), self.labels[row]


def read(dataset: Any, class_names: list[str] | None = None, data_prefix: str = "") -> Any:
    return read_torch_dataset(dataset, class_names=class_names, data_prefix=data_prefix)


def test_read_torch_dataset__reads_pairs() -> None:
    records = read(Pairs(["dog", "cat", "dog"]))
    assert records.class_names == ("cat", "dog")
    assert records.labels().tolist() == [1, 0, 1]
    assert records[2].image.getpixel((0, 0)) == (2, 2, 2)
    assert records[2].name == "#2"


def test_read_torch_dataset__spares_reading_rows_for_targets() -> None:
    dataset = Pairs([7, 7, 7], targets=torch.tensor([1, 0, 1]), classes=["cat", "dog"])
    records = read(dataset)
    assert dataset.reads == 1
    assert records.labels().tolist() == [1, 0, 1] and records.class_names == ("cat", "dog")


def test_read_torch_dataset__distrusts_targets_that_a_transform_changes() -> None:
    dataset = Pairs([1, 0, 1], targets=[5, 5, 5], target_transform=lambda label: 0)
    assert read(dataset).labels().tolist() == [1, 0, 1]


def test_read_torch_dataset__reads_torchvision_folders_by_path(tmp_path: Path, jpegs: Any) -> None:
    torchvision = pytest.importorskip("torchvision", reason="its ImageFolder is read")
    paths = jpegs(tmp_path, ["cat/a.jpg", "dog/b.jpg"])
    records = read(torchvision.datasets.ImageFolder(str(tmp_path), transform=torchvision.transforms.ToTensor()))
    assert records.files() == paths
    assert records.class_names == ("cat", "dog") and records.labels().tolist() == [0, 1]


def test_read_torch_dataset__follows_subsets() -> None:
    records = read(Subset(Subset(Pairs(["a", "b", "c", "d"]), [3, 1, 0]), [0, 2]))
    assert records.labels().tolist() == [3, 0] and records.class_names == ("a", "b", "c", "d")
    assert records[0].image.getpixel((0, 0)) == (3, 3, 3)


def test_read_torch_dataset__reads_a_list_of_rows(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, ["a.jpg", "b.jpg"])
    rows = [{"image:FILE": "a.jpg", "category": 1}, {"image:FILE": "b.jpg", "category": 0}]
    records = read(rows, ["cat", "dog"], str(tmp_path))
    assert records.files() == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    assert [records.class_names[record.label] for record in records] == ["dog", "cat"]


def test_read_torch_dataset__reads_pictures_in_lists() -> None:
    rows = [(np.zeros((4, 4, 3), np.uint8), ["x", "y"]), (np.ones((4, 4, 3), np.uint8), [])]
    records = read(rows)
    assert records.is_multi_label and [record.label for record in records] == [(0, 1), ()]
    assert records.files() is None and records[1].image.max() == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([7], "row 0 is a int"),
        ([{"image": "a.jpg", "kind": 1}], "'image', 'kind'"),
        ([{"image": "a.jpg", "label": 1}, {"image": "b.jpg"}], "row 1 has no 'label'"),
        ([("a.jpg", 1), ("b.jpg", None)], "row 1 has None"),
    ],
)
def test_read_torch_dataset__says_what_is_wrong(rows: list[Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(rows)
