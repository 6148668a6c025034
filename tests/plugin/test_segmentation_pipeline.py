"""The pipeline as scripts call it. Oracle: transformers' own processor, model and post-processing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelscope.outputs import TASK_OUTPUTS
from modelscope.pipelines import pipeline
from PIL import Image
from torch import nn

from modelscope_beit.errors import ImageError, ModelFolderError, SettingsError
from modelscope_beit.plugin.segmentation_pipeline import BeitSemanticSegmentationPipeline as Pipeline
from segmentation_models import LABELS, transformers_segmentation, write_our_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 x 32 pixels, five classes, random weights."""
    return write_our_folder(tmp_path_factory.mktemp("segmentation") / "ours")


@pytest.fixture(scope="module")
def segment(folder: Path) -> Pipeline:
    built = pipeline("semantic-segmentation", model=str(folder), device="cpu")
    assert isinstance(built, Pipeline)
    return built


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    return transformers_segmentation()


def same(result: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Tells whether two results are alike; scores may differ by rounding."""
    return (
        result["labels"] == expected["labels"]
        and np.array_equal(result["class_map"], expected["class_map"])
        and all(np.array_equal(*pair) for pair in zip(result["masks"], expected["masks"], strict=True))
        and np.allclose(result["scores"], expected["scores"], atol=1e-6)
    )


def test_call__equals_transformers_from_the_file_to_the_masks(
    folder: Path, segment: Pipeline, theirs: nn.Module, ten_images: list[Path]
) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(str(folder.with_name("theirs")))
    for path in ten_images:
        picture = Image.open(path)
        size = picture.size[::-1]
        with torch.no_grad():
            output = theirs(**processor(picture, return_tensors="pt"))
        (expected,) = processor.post_process_semantic_segmentation(output, target_sizes=[size])
        result = segment(str(path))
        # Logits differ by rounding, so a pixel where two classes are alike may fall to the other one.
        assert (result["class_map"] == expected.numpy()).mean() > 0.999
        assert len(result["labels"]) > 1
        logits = nn.functional.interpolate(output.logits, size=size, mode="bilinear")[0]
        probabilities = logits.softmax(0)
        for label, mask, score in zip(result["labels"], result["masks"], result["scores"], strict=True):
            mean = probabilities[LABELS.index(label)][torch.from_numpy(mask) == 1].mean()
            assert score == pytest.approx(float(mean), abs=1e-3)


def test_call__gives_what_the_host_promises_for_both_tasks(folder: Path, ten_images: list[Path]) -> None:
    for task in ("semantic-segmentation", "image-segmentation"):
        result = pipeline(task, model=str(folder), device="cpu")(str(ten_images[0]))
        assert set(TASK_OUTPUTS[task]) <= result.keys()
        assert {mask.shape for mask in result["masks"]} == {(213, 320)}
        assert {mask.dtype for mask in result["masks"]} == {np.dtype(np.uint8)}
        assert (sum(result["masks"]) == 1).all()
        areas = [mask.sum() for mask in result["masks"]]
        assert areas == sorted(areas, reverse=True) and areas[-1] > 0
        for label, mask in zip(result["labels"], result["masks"], strict=True):
            assert np.array_equal(mask == 1, result["class_map"] == LABELS.index(label))
        assert json.loads(json.dumps(result["scores"])) == [score.item() for score in result["scores"]]


def test_call__takes_a_picture_in_every_form(segment: Pipeline, ten_images: list[Path]) -> None:
    path = ten_images[1]
    picture = Image.open(path)
    expected = segment(str(path))
    bgr = np.asarray(picture)[:, :, ::-1]
    for value in (path, path.as_uri(), path.read_bytes(), picture, bgr, {"image": str(path)}, {"image:FILE": path}):
        assert same(segment(value), expected)


@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
def test_call__gives_a_list_for_a_list_and_a_generator_for_a_generator(
    segment: Pipeline, ten_images: list[Path], batch_size: int | None
) -> None:
    expected = [segment(str(path)) for path in ten_images]
    results = segment([str(path) for path in ten_images], batch_size=batch_size)
    assert isinstance(results, list) and all(map(same, results, expected))
    stream = segment((path for path in ten_images), batch_size=batch_size)
    assert not isinstance(stream, list) and all(map(same, stream, expected))


def test_call__really_batches(segment: Pipeline, ten_images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    forward = Pipeline.forward

    def counted(self: Pipeline, inputs: dict[str, Any], **params: Any) -> dict[str, Any]:
        passes.append(len(inputs["img"]))
        return forward(self, inputs, **params)

    monkeypatch.setattr(Pipeline, "forward", counted)
    segment(ten_images, batch_size=4)
    assert passes == [4, 4, 2]


def test_call__says_what_it_cannot_use(segment: Pipeline, ten_images: list[Path]) -> None:
    with pytest.raises(ImageError, match="no/such.jpg"):
        segment("no/such.jpg")
    with pytest.raises(ImageError, match="Picture 1 of the input"):
        segment([ten_images[0], "no/such.jpg"], batch_size=2)
    with pytest.raises(SettingsError, match="batch_size"):
        segment(ten_images, batch_size=0)


def test_preprocessor__of_the_caller_may_make_pictures_of_another_size(folder: Path, ten_images: list[Path]) -> None:
    def larger(picture: Image.Image) -> torch.Tensor:
        assert picture.mode == "RGB"
        return torch.from_numpy(np.asarray(picture.resize((64, 48)), np.float32) / 127.5 - 1).permute(2, 0, 1)

    built = pipeline("semantic-segmentation", model=str(folder), preprocessor=larger, device="cpu")
    assert built(ten_images[0])["class_map"].shape == (213, 320)


def test_pipeline__of_a_folder_of_transformers_says_what_to_do(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="beit convert"):
        Pipeline(str(folder.with_name("theirs")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device__gpu_gives_the_same(folder: Path, segment: Pipeline, ten_images: list[Path]) -> None:
    built = pipeline("semantic-segmentation", model=str(folder), device="gpu:0")
    for path in ten_images[:3]:
        found, expected = built(path)["class_map"], segment(path)["class_map"]
        assert (found == expected).mean() > 0.99
