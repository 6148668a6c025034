"""The parquet file, read by pyarrow itself and by read_features."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.features.table import FeatureTable, is_feature_file, read_features, write_features

FACTS = {"feature": "pooled", "weights": "sha256:1"}


def table(labels: list[str | list[str] | None], **changes: object) -> FeatureTable:
    features = np.arange(9, dtype=np.float32).reshape(3, 3)
    features[1] = np.nan
    content = {"paths": ["a", "b", "中"], "splits": ["train", "train", "validation"], "features": features}
    return FeatureTable(**{**content, "labels": labels, "errors": {1: "is empty"}, "facts": FACTS, **changes})


def test_write_features__columns_for_other_programs(tmp_path: Path) -> None:
    write_features(tmp_path / "x.parquet", table(["cat", "dog", "cat"]))
    content = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert content.schema.field("feature").type == pyarrow.list_(pyarrow.float32(), 3)
    assert content.to_pylist() == [
        {"path": "a", "label": "cat", "split": "train", "feature": [0, 1, 2], "error": None},
        {"path": "b", "label": "dog", "split": "train", "feature": None, "error": "is empty"},
        {"path": "中", "label": "cat", "split": "validation", "feature": [6, 7, 8], "error": None},
    ]


@pytest.mark.parametrize("labels", [["cat", "dog", "cat"], [["cat"], [], ["cat", "dog"]], [None, None, None]])
@pytest.mark.parametrize("errors", [{1: "is empty"}, {}])
def test_read_features__gives_back_what_was_written(
    tmp_path: Path, labels: list[str | list[str] | None], errors: dict[int, str]
) -> None:
    features = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    features[list(errors)] = np.nan
    before = table(labels, features=features, errors=errors)
    write_features(tmp_path / "x.parquet", before)
    after = read_features(tmp_path / "x.parquet")
    np.testing.assert_array_equal(after.features, features)
    for name in ("paths", "labels", "splits", "errors", "facts"):
        assert getattr(after, name) == getattr(before, name), name


def test_write_features__into_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Could not write"):
        write_features(tmp_path / "nowhere" / "x.parquet", table(["a", "b", "c"]))


def test_is_feature_file__knows_its_own(tmp_path: Path) -> None:
    other, text = tmp_path / "other.parquet", tmp_path / "text.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"path": ["a"]}), other)
    text.write_text("path,label")
    assert not any(map(is_feature_file, (other, text, tmp_path, tmp_path / "nothing")))
    with pytest.raises(SettingsError, match=r"other\.parquet: a table written by beit embed is expected"):
        read_features(other)
