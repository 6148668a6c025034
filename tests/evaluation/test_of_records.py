"""Evaluation of an opened model, beside predicting picture by picture."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helpers
from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.evaluation.hub_card import LARGE_ON_IMAGENET
from modelscope_beit.evaluation.of_records import EvaluationOptions, evaluate_records
from modelscope_beit.model_folder.label_files import imagenet_1k_labels, imagenet_1k_wordnet_ids
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.prediction.stream import predict_stream
from modelscope_beit.settings.model import ModelSettings

# The order of the data's classes is not the network's.
DATA_CLASSES = ("中文", "cat", "n02119789", "red fox, Vulpes vulpes", "dog")
OPTIONS = EvaluationOptions(batch_size=4, workers=1)


def records_of(paths: list[Path], labels: list[int], class_names: tuple[str, ...] = DATA_CLASSES) -> Records:
    pictures = FilePictures([str(path) for path in paths])
    return Records(pictures, np.array(labels, np.int64), class_names, description="ten pictures")


def share_right(model: OpenedModel, records: Records, paths: list[Path]) -> float:
    """How often the first label that `predict` gives has the name of the picture's class."""
    predictions = list(predict_stream(model, [str(path) for path in paths], topk=1))
    truths = [records.class_names[number] for number in records.labels().tolist()]
    return 100 * float(np.mean([found.labels[0] == truth for found, truth in zip(predictions, truths, strict=True)]))


def test_evaluate_records__agrees_with_prediction(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    model = open_model(tiny_model_folder)
    best = [found.labels[0] for found in predict_stream(model, [str(path) for path in ten_images], topk=1)]
    # Right for seven of the ten, by name.
    labels = [DATA_CLASSES.index(name) for name in best[:7]] + [(DATA_CLASSES.index(name) + 1) % 5 for name in best[7:]]
    records = records_of(ten_images, labels)
    seen: list[int] = []
    found = evaluate_records(model, records, OPTIONS, on_batch=seen.append)
    assert found.metrics["accuracy_top-1"] == share_right(model, records, ten_images) == 70.0
    assert found.outcomes.class_names == helpers.TINY_CLASSES
    assert (seen, found.unreadable, found.reference()) == ([4, 4, 2], [], None)
    assert found.num_parameters == sum(parameter.numel() for parameter in model.network.parameters())


def test_evaluate_records__leaves_out_and_names_what_cannot_be_read(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    model, labels = open_model(tiny_model_folder), [0, 1, 2, 3, 4] * 2
    whole = evaluate_records(model, records_of(ten_images, labels), OPTIONS)
    ten_images[3].write_bytes(b"")
    found = evaluate_records(model, records_of(ten_images, labels), OPTIONS)
    assert found.unreadable == [(str(ten_images[3]), f"{ten_images[3]}: is empty (0 bytes).")]
    assert found.outcomes.indices.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(found.outcomes.label_scores, np.delete(whole.outcomes.label_scores, 3), atol=1e-6)


def test_evaluate_records__of_nothing_readable_is_an_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    with pytest.raises(ImageError, match=r"None of the 2 pictures of ten pictures can be read. The first is .*a\.jpg"):
        evaluate_records(open_model(tiny_model_folder), records_of(paths, [0, 1]), OPTIONS)


def test_evaluate_records__names_classes_that_the_model_does_not_know(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    records = records_of(ten_images[:2], [0, 1], ("cat", "zebra"))
    with pytest.raises(SettingsError, match="zebra"):
        evaluate_records(open_model(tiny_model_folder), records, OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EvaluationOptions(batch_size=0), "batch_size must be at least 1, not 0"),
        (EvaluationOptions(workers=-1), "workers must be at least 0, not -1"),
        (EvaluationOptions(metrics=("mAP",)), "cannot be measured by mAP"),
    ],
)
def test_evaluate_records__checks_its_options_first(
    tiny_model_folder: Path, options: EvaluationOptions, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        evaluate_records(open_model(tiny_model_folder), records_of([Path("gone.jpg")], [0]), options)


def test_evaluate_records__among_the_classes_of_the_data_only(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    """As ImageNet-A is scored: the softmax and the order are over the classes that the data have."""
    model = open_model(tiny_model_folder)
    records = records_of(ten_images, [0, 2] * 5, ("n02119789", "nobody has this class", "dog"))
    found = evaluate_records(model, records, replace(OPTIONS, only_data_classes=True))
    assert found.outcomes.class_names == ("n02119789", "dog")
    for row, path in enumerate(ten_images):
        (prediction,) = predict_stream(model, [str(path)], topk=5)
        scores = dict(zip(prediction.labels, prediction.scores, strict=True))
        two = np.array([scores["n02119789"], scores["dog"]])
        expected = two / two.sum()
        assert found.outcomes.label_scores[row] == pytest.approx(expected[row % 2], rel=1e-4)


@pytest.fixture
def imagenet_model(tiny_model_folder: Path, tiny_settings: ModelSettings) -> OpenedModel:
    """A tiny network with the 1,000 classes of ImageNet."""
    network = helpers.with_random_weights(build_classifier(replace(tiny_settings, num_classes=1000))).eval()
    return replace(open_model(tiny_model_folder), network=network, class_names=imagenet_1k_labels())


def test_evaluate_records__knows_imagenets_folders_and_real_labels(
    imagenet_model: OpenedModel, tmp_path: Path, photographs: tuple[Image.Image, ...]
) -> None:
    paths = [tmp_path / f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3)]
    for number, path in enumerate(paths):
        photographs[0].crop((40 * number, 0, 40 * number + 300, 300)).save(path)
    best = [found.labels[0] for found in predict_stream(imagenet_model, [str(path) for path in paths], topk=1)]
    numbers = [imagenet_1k_labels().index(name) for name in best]
    (tmp_path / "real.json").write_text(json.dumps([[numbers[0], 3], [], [(numbers[2] + 1) % 1000]]))
    ids = imagenet_1k_wordnet_ids()
    records = records_of(paths, [0, 1, 2], (ids[numbers[0]], ids[(numbers[1] + 1) % 1000], ids[5]))
    found = evaluate_records(imagenet_model, records, replace(OPTIONS, real=tmp_path / "real.json"))
    right = 1 + (numbers[2] == 5)
    assert found.metrics["accuracy_top-1"] == pytest.approx(100 * right / 3)
    assert (found.metrics["accuracy_real_top-1"], found.metrics["real_support"]) == (50.0, 2.0)


def test_evaluate_records__real_labels_need_imagenets_classes(
    tiny_model_folder: Path, tmp_path: Path, ten_images: list[Path]
) -> None:
    (tmp_path / "real.json").write_text("[[1]]")
    with pytest.raises(SettingsError, match=r"1,000 classes of ImageNet, but the model in .* has 5 classes"):
        evaluate_records(
            open_model(tiny_model_folder),
            records_of(ten_images, [0] * 10),
            replace(OPTIONS, real=tmp_path / "real.json"),
        )


@pytest.mark.parametrize(
    ("change", "is_told"),
    [({}, True), ({"num_parameters": 86_530_984}, False), ({"unreadable": [("one more", "")]}, False)],
)
def test_reference__is_told_of_the_large_model_on_imagenet_only(
    tiny_model_folder: Path, ten_images: list[Path], change: dict, is_told: bool
) -> None:
    found = evaluate_records(open_model(tiny_model_folder), records_of(ten_images[:1], [0]), OPTIONS)
    outcomes = replace(found.outcomes, indices=np.arange(50_000), class_names=imagenet_1k_labels())
    found = replace(found, **{"outcomes": outcomes, "num_parameters": 304_430_568, **change})
    assert found.reference() == (LARGE_ON_IMAGENET if is_told else None)


def test_evaluate_records__decodes_fast_for_who_asks(
    tiny_model_folder: Path, ten_images: list[Path], photographs: tuple[Image.Image, ...]
) -> None:
    model, labels = open_model(tiny_model_folder), [0, 1, 2, 3, 4] * 2
    photographs[1].save(ten_images[4])
    ten_images[3].write_bytes(b"")
    options = replace(OPTIONS, fast_decode=True)
    found = evaluate_records(model, records_of(ten_images, labels), options)
    assert [name for name, _ in found.unreadable] == [str(ten_images[3])]
    expected = predict_stream(model, ten_images, topk=1, fast_decode=True)
    best = [one.scores[0] for one in expected if one.error is None]
    np.testing.assert_allclose(found.outcomes.top_scores[:, 0], best, atol=1e-5)
