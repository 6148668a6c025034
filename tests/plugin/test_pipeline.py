"""The pipeline as scripts call it: every input, every option, piece by piece and from several threads."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from modelscope.msdatasets import MsDataset
from modelscope.pipelines import pipeline
from PIL import Image

import helpers
from modelscope_beit.errors import CheckpointError, ImageError, SettingsError
from modelscope_beit.model_folder.fast_decoding import fast_transform
from modelscope_beit.model_folder.opening import read_folder_settings
from modelscope_beit.network.precision import form_in
from modelscope_beit.plugin import pipeline as pipeline_module
from modelscope_beit.plugin.pipeline import BeitImageClassificationPipeline as Pipeline
from modelscope_beit.plugin.preprocessor import (
    ImageClassificationBypassPreprocessor,
    ImageClassificationMmcvPreprocessor,
)


def close(results: Any, expected: Any) -> bool:
    """Tells whether results have the expected labels, and scores that differ by rounding at most."""
    return [one["labels"] for one in results] == [one["labels"] for one in expected] and np.allclose(
        [one["scores"] for one in results], [one["scores"] for one in expected], atol=1e-6, rtol=0
    )


def one_by_one(tiny_pipeline: Pipeline, pictures: list[Path]) -> list[dict[str, Any]]:
    return [tiny_pipeline(str(path)) for path in pictures]


def test_call__equals_the_network_by_hand(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    with Image.open(ten_images[0]) as picture:  # 320 x 213; the short side becomes 36, the centre 32 is cut out.
        resized = picture.resize((round(36 / 213 * 320), 36), Image.Resampling.BICUBIC)
    left, top = round((resized.width - 32) / 2), 2
    pixels = np.asarray(resized.crop((left, top, left + 32, top + 32)), np.float32)
    pixels = (pixels - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    with torch.no_grad():
        logits = tiny_pipeline.model.cls_model(torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32))
    scores, order = logits.softmax(1)[0].sort(descending=True)
    result = tiny_pipeline(str(ten_images[0]))
    assert result["labels"] == [helpers.TINY_CLASSES[place] for place in order]
    assert np.allclose(result["scores"], scores, atol=1e-5, rtol=0)


def test_call__gives_numbers_that_scripts_can_use(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    result = tiny_pipeline(str(ten_images[0]))
    assert list(result) == ["scores", "labels"]
    assert [type(score) for score in result["scores"]] == [np.float64] * 5
    assert result["scores"][0].item() == json.loads(json.dumps(result))["scores"][0]
    assert all(type(label) is str for label in result["labels"])
    assert sorted(result["scores"], reverse=True) == result["scores"]
    assert sum(result["scores"]) == pytest.approx(1)


def inputs_for(path: Path) -> list[Any]:
    picture = Image.open(path)
    bgr = np.asarray(picture)[:, :, ::-1]
    return [
        path,
        path.read_bytes(),
        path.as_uri(),
        picture,
        bgr,
        np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)]),
        {"image": str(path)},
        {"image": picture},
        {"image": bgr},
        {"image:FILE": str(path), "category": 3},
        {"image:FILE": [str(path)]},
        {"filename": str(path), "image": None},
        {"image": {"bytes": path.read_bytes(), "path": None}},
        {"image": {"bytes": None, "path": str(path)}},
    ]


def test_call__takes_a_picture_in_every_form(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    expected = tiny_pipeline(str(ten_images[0]))
    for value in inputs_for(ten_images[0]):
        assert tiny_pipeline(value) == expected, value


def test_call__takes_grey_arrays(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    grey = Image.open(ten_images[0]).convert("L")
    expected = tiny_pipeline(grey.convert("RGB"))
    assert tiny_pipeline(np.asarray(grey)) == expected
    assert tiny_pipeline(np.asarray(grey)[:, :, None]) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"text": "cat", "id": 3}, "text, id"),
        ({}, r"\(none\)"),
        (datasets.DatasetDict(train=datasets.Dataset.from_dict({"image": []})), "train"),
        (torch.zeros(3, 32, 32), "Tensor"),
        (None, "NoneType"),
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        ("no/such/file.jpg", "no/such/file.jpg"),
        ("ftp://host/cat.jpg", "ftp://host/cat.jpg"),
    ],
    ids=str,
)
def test_call__says_why_it_cannot_use_a_value(tiny_pipeline: Pipeline, value: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        tiny_pipeline(value)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 4, 100, np.int64(2)])
def test_call__gives_a_list_for_a_list(tiny_pipeline: Pipeline, ten_images: list[Path], batch_size: int | None) -> None:
    expected = one_by_one(tiny_pipeline, ten_images)
    for pictures in ([str(path) for path in ten_images], tuple(ten_images)):
        results = tiny_pipeline(pictures, batch_size=batch_size)
        assert isinstance(results, list)
        assert close(results, expected)
    assert tiny_pipeline([], batch_size=batch_size) == []


def test_call__really_batches(tiny_pipeline: Pipeline, ten_images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    forward = Pipeline.forward

    def counted(self: Pipeline, inputs: dict[str, Any], **params: Any) -> np.ndarray:
        passes.append(len(inputs["img"]))
        return forward(self, inputs, **params)

    monkeypatch.setattr(Pipeline, "forward", counted)
    tiny_pipeline([*ten_images], batch_size=4)
    assert passes == [4, 4, 2]


def test_call__batches_pictures_of_different_sizes(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    """Without a crop each picture keeps its proportions, and the network takes what is a multiple of its patch."""
    configuration = json.loads((tiny_model_folder / "configuration.json").read_text())
    steps = configuration["preprocessor"]["val"]
    configuration["preprocessor"]["val"] = [step for step in steps if step["type"] != "CenterCrop"]
    configuration["preprocessor"]["val"][1]["size"] = [32, -1]
    (tiny_model_folder / "configuration.json").write_text(json.dumps(configuration))
    built = pipeline("image-classification", model=str(tiny_model_folder), device="cpu")
    square, wide = Image.open(ten_images[2]), Image.open(ten_images[2]).resize((128, 64))
    expected = [built(square), built(wide), built(square)]
    assert expected[0]["scores"] != expected[1]["scores"]
    assert close(built([square, wide, square], batch_size=3), expected)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_call__streams_whatever_gives_pictures(
    tiny_pipeline: Pipeline, ten_images: list[Path], batch_size: int | None
) -> None:
    expected = one_by_one(tiny_pipeline, ten_images)
    paths = [str(path) for path in ten_images]
    files = datasets.Dataset.from_dict({"image:FILE": paths, "category": [0] * 10})
    pictures = datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())
    streams: list[Any] = [
        (path for path in paths),
        iter(paths),
        map(Image.open, paths),
        files,
        pictures,
        pictures.cast_column("image", datasets.Image(decode=False)),
        pictures.to_iterable_dataset(),
        MsDataset(files),
    ]
    for stream in streams:
        results = tiny_pipeline(stream, batch_size=batch_size)
        assert isinstance(results, Iterator)
        assert close(list(results), expected), stream


@pytest.mark.parametrize(("batch_size", "ahead"), [(None, 0), (1, 3), (3, 9)])
def test_call__takes_from_an_endless_stream_only_what_it_needs(
    tiny_pipeline: Pipeline, ten_images: list[Path], batch_size: int | None, ahead: int
) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield str(ten_images[0])

    results = tiny_pipeline(endless(), batch_size=batch_size)
    assert taken == 0
    for told in range(1, 20):
        next(results)
        assert taken <= told + ahead
    threads = threading.active_count()
    results.close()
    assert threading.active_count() <= threads
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("beit-decode")]


@pytest.mark.parametrize("batch_size", [None, 4])
def test_call__names_the_broken_picture_of_a_list(
    tiny_pipeline: Pipeline, ten_images: list[Path], batch_size: int | None
) -> None:
    ten_images[6].write_bytes(ten_images[6].read_bytes()[:300])
    with pytest.raises(ImageError, match=r"Picture 6 .*image_6\.jpg"):
        tiny_pipeline(ten_images, batch_size=batch_size)
    results = tiny_pipeline(iter(ten_images), batch_size=batch_size)
    assert len([next(results) for _ in range(4)]) == 4
    with pytest.raises(ImageError, match=r"Picture 6 .*image_6\.jpg"):
        list(results)


@pytest.mark.parametrize(("topk", "told"), [(1, 1), (3, 3), (5, 5), (10, 5), (np.int64(2), 2)])
def test_topk__is_clipped_to_the_classes(tiny_pipeline: Pipeline, ten_images: list[Path], topk: int, told: int) -> None:
    everything = tiny_pipeline(str(ten_images[0]))
    for result in (tiny_pipeline(ten_images[0], topk=topk), tiny_pipeline(ten_images[:1], topk=topk, batch_size=2)[0]):
        assert result == {name: values[:told] for name, values in everything.items()}


@pytest.mark.parametrize("name", ["topk", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True])
def test_number__is_refused_before_anything_is_read(tiny_pipeline: Pipeline, name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"{name} must be a whole number of at least 1, not {value!r}"):
        tiny_pipeline(iter(["no/such/file.jpg"]), **{name: value})


def test_call__passes_over_keywords_it_does_not_know(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    assert tiny_pipeline(ten_images[0], threshold=0.5) == tiny_pipeline(ten_images[0])


def test_stages__can_be_used_one_by_one(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    prepared = tiny_pipeline.preprocess(str(ten_images[0]))
    assert (prepared["img"].shape, prepared["img"].dtype) == ((1, 3, 32, 32), torch.float32)
    probabilities = tiny_pipeline.forward(prepared)
    assert probabilities.shape == (1, 5)
    assert tiny_pipeline.postprocess(probabilities) == tiny_pipeline(str(ten_images[0]))
    assert len(tiny_pipeline.postprocess(probabilities, topk=2)["labels"]) == 2
    # As the stock class gave them: a list with one array for each picture.
    assert tiny_pipeline.postprocess(tiny_pipeline.model(prepared))["labels"] == tiny_pipeline(ten_images[0])["labels"]


def test_call__is_thread_safe(tiny_model_folder: Path, ten_images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    built = pipeline("image-classification", model=str(tiny_model_folder), device="cpu")
    made = []
    monkeypatch.setattr(
        pipeline_module, "form_in", lambda *given, **options: made.append(1) or form_in(*given, **options)
    )
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(built, ten_images * 10))
    assert made == [1]
    assert results == one_by_one(built, ten_images) * 10


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"precision": "int8", "calibration": "PICTURES"}])
def test_precision__is_close_to_the_exact_one(
    tiny_model_folder: Path, tiny_pipeline: Pipeline, ten_images: list[Path], options: dict
) -> None:
    options = {key: value.replace("PICTURES", str(ten_images[0].parent)) for key, value in options.items()}
    built = pipeline("image-classification", model=str(tiny_model_folder), device="cpu", **options)
    exact, found = one_by_one(tiny_pipeline, ten_images), built(ten_images, batch_size=5)
    differences = [
        dict(zip(one["labels"], one["scores"], strict=True))[label] - score
        for one, other in zip(found, exact, strict=True)
        for label, score in zip(other["labels"], other["scores"], strict=True)
    ]
    assert 0 < max(abs(difference) for difference in differences) < 0.02


def test_precision__that_is_unknown_is_told_at_once(tiny_model_folder: Path) -> None:
    with pytest.raises(SettingsError, match="not 'fp8'"):
        pipeline("image-classification", model=str(tiny_model_folder), device="cpu", precision="fp8")


def test_call__does_not_answer_out_of_broken_weights(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    tiny_pipeline.model.cls_model.head.fc.bias.data[2] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        tiny_pipeline(ten_images[0])


def test_compile__gives_the_same(tiny_model_folder: Path, tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    compiled = pipeline(
        "image-classification",
        model=str(tiny_model_folder),
        device="cpu",
        compile=True,
        compile_options={"backend": "eager"},
    )
    assert close([compiled(ten_images[0])], [tiny_pipeline(ten_images[0])])


@pytest.mark.parametrize("device", ["cpu", "gpu", "gpu:0", "cuda", "cuda:1"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_device__is_the_processor_where_there_is_no_gpu(
    tiny_model_folder: Path, ten_images: list[Path], device: str
) -> None:
    built = pipeline("image-classification", model=str(tiny_model_folder), device=device)
    assert len(built(ten_images[0])["labels"]) == 5
    assert {weight.device.type for weight in built.model.parameters()} == {"cpu"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device__gpu_gives_the_same(tiny_model_folder: Path, tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    built = pipeline("image-classification", model=str(tiny_model_folder), device="gpu:0")
    results = built(ten_images, batch_size=4)
    assert {weight.device.type for weight in built.model.parameters()} == {"cuda"}
    for result, expected in zip(results, one_by_one(tiny_pipeline, ten_images), strict=True):
        assert np.allclose(result["scores"], expected["scores"], atol=1e-3)


def test_device__of_another_kind_is_refused(tiny_model_folder: Path) -> None:
    with pytest.raises(AssertionError, match="device should be either"):
        pipeline("image-classification", model=str(tiny_model_folder), device="tpu")


def test_preprocessor__is_built_once(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    initialise = ImageClassificationMmcvPreprocessor.__init__

    def counted(self: ImageClassificationMmcvPreprocessor, *args: Any, **kwargs: Any) -> None:
        built.append(self)
        initialise(self, *args, **kwargs)

    monkeypatch.setattr(ImageClassificationMmcvPreprocessor, "__init__", counted)
    made = pipeline("image-classification", model=str(tiny_model_folder), device="cpu")
    assert built == [made.preprocessor]


@pytest.mark.parametrize("kind", [None, "image-classification-mmcv-preprocessor"])
def test_preprocessor__may_have_any_type_or_none(
    tiny_model_folder: Path, tiny_pipeline: Pipeline, ten_images: list[Path], kind: str | None
) -> None:
    file = tiny_model_folder / "configuration.json"
    configuration = json.loads(file.read_text())
    assert configuration["preprocessor"].pop("type") == "image-classification-bypass-preprocessor"
    if kind is not None:
        configuration["preprocessor"]["type"] = kind
    file.write_text(json.dumps(configuration))
    built = pipeline("image-classification", model=str(tiny_model_folder), device="cpu")
    assert built(ten_images[0]) == tiny_pipeline(ten_images[0])


def test_preprocessor__of_the_caller_gets_a_bgr_array(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    def half(array: np.ndarray) -> dict[str, torch.Tensor]:
        assert array.dtype == np.uint8
        assert np.array_equal(array, np.asarray(Image.open(ten_images[2]))[:, :, ::-1])
        return {"img": torch.full((3, 32, 32), 0.5), "img_metas": object()}

    built = Pipeline(model=tiny_pipeline.model, preprocessor=half, device="cpu")
    assert torch.equal(built.preprocess(ten_images[2])["img"], torch.full((1, 3, 32, 32), 0.5))
    assert len(built(ten_images[2])["labels"]) == 5


def test_preprocessor__that_bypasses_is_replaced(tiny_pipeline: Pipeline, ten_images: list[Path]) -> None:
    built = Pipeline(model=tiny_pipeline.model, preprocessor=ImageClassificationBypassPreprocessor(), device="cpu")
    assert built(ten_images[0]) == tiny_pipeline(ten_images[0])


def test_fast_decode__uses_the_fast_transform(tiny_model_folder: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    helpers.photographs()[0].save(large)
    fast = fast_transform(read_folder_settings(tiny_model_folder).preprocessing)
    one = Pipeline(str(tiny_model_folder), device="cpu", fast_decode=True)
    assert torch.equal(one.preprocess(str(large))["img"][0], fast(fast.read(large)))
    exact = Pipeline(str(tiny_model_folder), device="cpu")
    assert not torch.equal(exact.preprocess(str(large))["img"], one.preprocess(str(large))["img"])
    assert np.allclose(sorted(one(str(large))["scores"]), sorted(exact(str(large))["scores"]), atol=0.02)


def test_fast_decode__is_not_for_a_preprocessor_of_the_caller(tiny_model_folder: Path) -> None:
    with pytest.raises(SettingsError, match="fast_decode takes the place of .* but a function was given"):
        Pipeline(str(tiny_model_folder), preprocessor=lambda picture: {}, device="cpu", fast_decode=True)
