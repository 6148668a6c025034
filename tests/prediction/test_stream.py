"""Predictions of real files through a tiny network, against the network called by hand on the same pixels."""

import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.fast_decoding import fast_transform
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.prediction.stream import predict_stream


@pytest.fixture
def model(tiny_model_folder: Path) -> OpenedModel:
    return open_model(tiny_model_folder)


def by_hand(model: OpenedModel, path: Path) -> tuple[list[str], np.ndarray]:
    """Label names and probabilities, best first, by PIL, the plain classifier, torch's softmax and sort."""
    with torch.no_grad():
        logits = model.network(model.transform(Image.open(path).convert("RGB"))[None])
    scores, columns = logits.softmax(1)[0].sort(descending=True)
    return [helpers.TINY_CLASSES[column] for column in columns], scores.numpy()


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_predict_stream__gives_in_order_what_the_network_gives(
    model: OpenedModel, ten_images: list[Path], batch_size: int
) -> None:
    predictions = list(predict_stream(model, ten_images, batch_size=batch_size, workers=4, topk=5))
    assert [prediction.source for prediction in predictions] == [str(path) for path in ten_images]
    for prediction, path in zip(predictions, ten_images, strict=True):
        labels, scores = by_hand(model, path)
        assert prediction.error is None
        assert list(prediction.labels) == labels
        np.testing.assert_allclose(prediction.scores, scores, atol=1e-5)


def test_predict_stream__tells_no_more_classes_than_asked_for(model: OpenedModel, ten_images: list[Path]) -> None:
    assert len(next(predict_stream(model, ten_images, topk=2)).labels) == 2
    assert len(next(predict_stream(model, ten_images, topk=50)).labels) == 5


def test_predict_stream__gives_a_broken_picture_its_own_row(
    model: OpenedModel, ten_images: list[Path], tmp_path: Path
) -> None:
    truncated, empty, text = tmp_path / "truncated.jpg", tmp_path / "empty.jpg", tmp_path / "text.jpg"
    truncated.write_bytes(ten_images[0].read_bytes()[:700])
    empty.touch()
    text.write_text("this is no picture")
    mixed = [ten_images[0], truncated, empty, ten_images[1], text, tmp_path / "missing.jpg", tmp_path, ten_images[2]]
    predictions = list(predict_stream(model, mixed, batch_size=4))
    assert [prediction.source for prediction in predictions] == [str(path) for path in mixed]
    assert [prediction.error is None for prediction in predictions] == [place in (0, 3, 7) for place in range(8)]
    for prediction in predictions:
        assert (prediction.labels == ()) == (prediction.error is not None)
    assert list(predictions[7].labels) == by_hand(model, ten_images[2])[0]


def test_predict_stream__takes_pictures_arrays_and_rows_and_names_them_by_place(model: OpenedModel) -> None:
    picture = helpers.photographs()[0]
    array = np.asarray(picture)[:, :, ::-1]
    predictions = list(predict_stream(model, [picture, {"image": picture}, array]))
    assert [prediction.source for prediction in predictions] == ["#0", "#1", "#2"]
    assert predictions[0].scores == predictions[1].scores == predictions[2].scores


def test_predict_stream__makes_every_name_printable(model: OpenedModel) -> None:
    (prediction,) = predict_stream(model, [b"caf\xe9.jpg".decode("utf-8", "surrogateescape")])
    assert prediction.source.encode("utf-8") == rb"caf\udce9.jpg"
    assert prediction.error is not None
    prediction.error.encode("utf-8")


def test_predict_stream__of_nothing_is_nothing(model: OpenedModel) -> None:
    assert list(predict_stream(model, [])) == []


def test_predict_stream__says_that_scores_are_not_finite(model: OpenedModel, ten_images: list[Path]) -> None:
    with torch.no_grad():
        model.network.head.fc.weight.fill_(float("nan"))
    predictions = list(predict_stream(model, ten_images[:2]))
    assert all("not finite" in str(prediction.error) and not prediction.labels for prediction in predictions)


def test_predict_stream__refuses_all_wrong_numbers_at_once(model: OpenedModel) -> None:
    with pytest.raises(SettingsError, match="batch_size .* not 0; workers .* not -1; topk .* not 0"):
        predict_stream(model, [], batch_size=0, workers=-1, topk=0)


def test_predict_stream__keeps_memory_flat(model: OpenedModel, tmp_path: Path) -> None:
    """Of 2,000 pictures no more may be alive at a time than two batches and one per worker."""
    path = tmp_path / "one.png"
    helpers.photographs()[0].resize((40, 40)).save(path)
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    lock, most, taken = threading.Lock(), [0], []

    def counted(picture: Image.Image) -> torch.Tensor:
        pixels = model.transform(picture)
        with lock:
            alive.add(pixels)
            most.append(max(most.pop(), len(alive)))
        return pixels

    def sources() -> Iterator[Path]:
        for number in range(2000):
            taken.append(number)
            yield path

    done = 0
    for prediction in predict_stream(replace(model, transform=counted), sources(), batch_size=16, workers=3):
        done += 1
        assert prediction.error is None
        assert len(taken) - done < 2 * 16 + 3
    assert done == 2000
    assert 16 < most[0] <= 2 * 16 + 3
    assert not alive


def test_predict_stream__ends_its_threads_when_closed_early(model: OpenedModel, ten_images: list[Path]) -> None:
    predictions = predict_stream(model, ten_images * 50, batch_size=2)
    next(predictions)
    predictions.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("beit-decode")]


def test_predict_stream__passes_on_an_error_of_the_iterator_itself(model: OpenedModel, ten_images: list[Path]) -> None:
    def sources() -> Iterator[Path]:
        yield from ten_images
        raise ConnectionError("the data set's server is gone")

    with pytest.raises(ConnectionError, match="server is gone"):
        list(predict_stream(model, sources(), batch_size=2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("beit-decode")]


def test_predict_stream__classifies_pictures_of_different_sizes_when_nothing_crops(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    configuration = (tiny_model_folder / "configuration.json").read_text()
    assert '"CenterCrop"' in configuration
    steps = configuration.replace('"type": "CenterCrop",', '"type": "Resize", "backend": "pillow",')
    steps = steps.replace('"crop_size": 32', '"size": [32, -1]')
    (tiny_model_folder / "configuration.json").write_text(steps)
    model = open_model(tiny_model_folder)
    square, wide = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (128, 64), "blue")
    odd = Image.new("RGB", (75, 64), "green")  # 37 pixels wide: not a multiple of the patch
    predictions = list(predict_stream(model, [square, wide, odd, square], batch_size=4))
    assert [prediction.error is None for prediction in predictions] == [True, True, False, True]
    assert predictions[0].scores == predictions[3].scores != predictions[1].scores


def test_predict_stream__decodes_fast_for_who_asks(
    model: OpenedModel, ten_images: list[Path], tmp_path: Path, photographs: tuple[Image.Image, ...]
) -> None:
    large, broken = tmp_path / "large.jpg", tmp_path / "broken.jpg"
    photographs[0].save(large)
    broken.write_bytes(large.read_bytes()[:5000])
    fast = fast_transform(model.settings.preprocessing)
    sources = [*ten_images, large, broken]
    with torch.no_grad():
        pixels = torch.stack([fast(fast.read(source)) for source in sources[:-1]])
        expected = model.network(pixels).softmax(1).sort(descending=True)[0].numpy()
    *found, last = predict_stream(model, sources, batch_size=4, fast_decode=True)
    np.testing.assert_allclose([one.scores for one in found], expected, atol=1e-5)
    assert last.error is not None and "truncated" in last.error
    # The model itself still takes what it took before.
    exact = list(predict_stream(model, ten_images))
    np.testing.assert_allclose([one.scores for one in exact], expected[:10], atol=0.02)


def test_predict_stream__says_at_once_that_there_is_no_fast_decoding(model: OpenedModel) -> None:
    settings = replace(model.settings, preprocessing=model.settings.preprocessing[2:])
    with pytest.raises(SettingsError, match="does not begin with Resize"):
        predict_stream(replace(model, settings=settings), [], fast_decode=True)


def test_predict_stream__of_a_calibrated_folder(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    plain = open_model(tiny_model_folder)
    with torch.no_grad():
        pixels = torch.stack([plain.transform(Image.open(path).convert("RGB")) for path in ten_images])
        logits = plain.network(pixels).double()
    familiarities = logits.exp().sum(1).log()
    threshold = float(familiarities.sort().values[4:6].mean())
    assert all(one.is_unknown is None for one in predict_stream(plain, ten_images))
    helpers.calibrate_by_hand(tiny_model_folder, 2.0, threshold)
    found = list(predict_stream(open_model(tiny_model_folder), [*ten_images, "missing.jpg"], topk=5))
    assert [one.is_unknown for one in found] == [*(familiarities < threshold).tolist(), None]
    scores = (logits / 2).softmax(1).sort(dim=1, descending=True).values
    np.testing.assert_allclose([one.scores for one in found[:10]], scores, atol=1e-5)
