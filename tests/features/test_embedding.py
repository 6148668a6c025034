"""Whole data sets: rows, labels, and when the file on the disk counts."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.features import embedding
from modelscope_beit.features.embedding import EmbeddingOptions, embed, embed_once, facts_of
from modelscope_beit.features.extracting import PictureFeatures, extract_features
from modelscope_beit.model_folder.opening import OpenedModel, open_model

OPTIONS = EmbeddingOptions(batch_size=4, workers=1)


@pytest.fixture
def model(tiny_model_folder: Path) -> OpenedModel:
    return open_model(tiny_model_folder)


@pytest.fixture
def parts(ten_images: list[Path]) -> dict[str, Records]:
    paths = [str(path) for path in ten_images]
    train = Records(FilePictures(paths[:6]), np.array([0, 1, 0, 1, 0, 1]), ("cat", "dog"), description="six")
    validation = Records(FilePictures(paths[6:]), np.array([1, 1, 0, 0]), ("cat", "dog"), description="four")
    return {"train": train, "validation": validation}


def test_embed__has_the_rows_of_all_parts(
    model: OpenedModel, parts: dict[str, Records], ten_images: list[Path]
) -> None:
    ten_images[7].write_bytes(b"")
    done: list[int] = []
    found = embed(model, parts, OPTIONS, on_batch=done.append)
    assert found.paths == [str(path) for path in ten_images]
    assert found.labels == ["cat", "dog"] * 3 + ["dog", "dog", "cat", "cat"]
    assert found.splits == ["train"] * 6 + ["validation"] * 4
    assert list(found.errors) == [7] and "is empty" in found.errors[7] and sum(done) == 10
    expected = [extract_features(model, records, batch_size=4).features for records in parts.values()]
    np.testing.assert_allclose(found.features, np.concatenate(expected), atol=1e-6)


def test_embed__of_several_labels_a_picture_has_lists(model: OpenedModel, ten_images: list[Path]) -> None:
    labels = np.array([[True, True], [False, False]])
    paths = [str(path) for path in ten_images[:2]]
    records = Records(FilePictures(paths), labels, ("cat", "dog"), description="two")
    assert embed(model, {"train": records}, OPTIONS).labels == [["cat", "dog"], []]


def test_embed_once__computes_a_second_time_only_what_has_changed(
    model: OpenedModel,
    parts: dict[str, Records],
    ten_images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def counted(*arguments: Any, **keywords: Any) -> PictureFeatures:
        calls.append(keywords["feature"])
        return extract_features(*arguments, **keywords)

    monkeypatch.setattr(embedding, "extract_features", counted)
    file = tmp_path / "features.parquet"
    first = embed_once(file, model, parts, OPTIONS)
    again = embed_once(file, model, parts, EmbeddingOptions(batch_size=1, workers=0))
    assert calls == ["pooled"] * 2
    np.testing.assert_array_equal(again.features, first.features)
    embed_once(file, model, parts, EmbeddingOptions("mean"))
    assert calls[2:] == ["mean"] * 2
    # A picture that changes, and one that becomes unreadable and is whole again.
    content = ten_images[0].read_bytes()
    ten_images[0].write_bytes(b"")
    assert list(embed_once(file, model, parts, EmbeddingOptions("mean")).errors) == [0]
    assert list(embed_once(file, model, parts, EmbeddingOptions("mean")).errors) == [0]
    ten_images[0].write_bytes(content)
    assert not embed_once(file, model, parts, EmbeddingOptions("mean")).errors
    assert len(calls) == 10


def test_facts_of__change_with_weights_data_and_feature(
    model: OpenedModel, parts: dict[str, Records], ten_images: list[Path]
) -> None:
    before = facts_of(model, parts, "pooled")
    assert facts_of(model, parts, "pooled") == before
    assert facts_of(model, parts, "mean")["feature"] == "mean"
    assert facts_of(model, {"train": parts["train"]}, "pooled")["data"] != before["data"]
    os.utime(ten_images[0], ns=(0, 0))
    assert facts_of(model, parts, "pooled")["data"] != before["data"]
    weights = model.folder / "pytorch_model.pt"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert facts_of(model, parts, "pooled")["weights"] != before["weights"]
