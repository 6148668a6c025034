"""Logits of real files against the network called by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.errors import ImageError
from modelscope_beit.evaluation.logits import picture_logits
from modelscope_beit.model_folder.opening import open_model


def records_of(paths: list[Path]) -> Records:
    labels = np.arange(len(paths), dtype=np.int64) % 5
    return Records(FilePictures([str(path) for path in paths]), labels, tuple("abcde"), description="some files")


def test_picture_logits__equal_the_network_without_those_that_cannot_be_read(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path
) -> None:
    model = open_model(tiny_model_folder)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(ten_images[0].read_bytes()[:300])
    seen: list[int] = []
    found = picture_logits(
        model, records_of([*ten_images[:4], broken, *ten_images[4:]]), batch_size=3, workers=2, on_batch=seen.append
    )
    with torch.no_grad():
        pixels = torch.stack([model.transform(Image.open(path).convert("RGB")) for path in ten_images])
        expected = model.network(pixels).numpy()
    np.testing.assert_allclose(found.logits, expected, atol=1e-5)
    assert found.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 0]
    assert [path for path, _ in found.unreadable] == [str(broken)]
    assert sum(seen) == 10


def test_picture_logits__of_nothing_readable(tiny_model_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    with pytest.raises(ImageError, match="None of the 1 pictures of some files"):
        picture_logits(open_model(tiny_model_folder), records_of([broken]), batch_size=2, workers=0)
