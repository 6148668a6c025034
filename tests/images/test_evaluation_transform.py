import ast
import copy
import importlib.util
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.settings.preprocessing import (
    CenterCrop,
    ImageToTensor,
    Normalize,
    Pad,
    Resize,
    evaluation_steps,
    read_steps,
)

MMCLS = importlib.util.find_spec("mmcls")
RECIPE_FOLDER = ".mim/configs/_base_/datasets"
RECIPES = sorted((Path(MMCLS.origin).parent / RECIPE_FOLDER).glob("imagenet*.py")) if MMCLS else []
IMAGENET = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
END = [{"type": "ImageToTensor", "keys": ["img"]}, {"type": "Collect", "keys": ["img"]}]
SIZES = [
    (1, 1),
    (1, 9),
    (300, 2),
    (5, 200),
    (37, 53),
    (224, 224),
    (256, 300),
    (225, 256),
    (257, 511),
    (512, 682),
    (999, 701),
]
PILLOW_BICUBIC = {"backend": "pillow", "interpolation": "bicubic"}


def picture_of(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def pipeline_of(recipe: Path) -> list[dict]:
    """The test pipeline alone: the training ones build on files that mmcv 1.7.2 cannot always read."""
    wanted = {"img_norm_cfg", "test_pipeline"}
    tree = ast.parse(recipe.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id in wanted]
    values: dict = {}
    exec(compile(tree, str(recipe), "exec"), values)
    return values["test_pipeline"]


@pytest.fixture(scope="module")
def assert_equal_to_mmcls() -> Callable[[list[dict], Image.Image], None]:
    pipelines = pytest.importorskip("mmcls.datasets.pipelines", reason="the oracle comes with the extra openmmlab")

    def by_mmcls(steps: list[dict], picture: Image.Image) -> torch.Tensor:
        """What mmcls makes of the BGR array that ModelScope's stock pipeline gives it."""
        steps = [step for step in copy.deepcopy(steps) if step["type"] != "LoadImageFromFile"]
        for step in steps:
            for name in ("size", "crop_size", "pad_val"):
                if isinstance(step.get(name), list):
                    step[name] = tuple(step[name])
        return pipelines.Compose(steps)({"img": np.array(picture)[:, :, ::-1]})["img"]

    def check(steps: list[dict], picture: Image.Image) -> None:
        ours = EvaluationTransform(read_steps(steps, "preprocessor.val"))(picture)
        expected = by_mmcls(steps, picture)
        assert ours.dtype == torch.float32
        assert ours.is_contiguous()
        assert ours.shape == expected.shape
        assert torch.equal(ours, expected)

    return check


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.openmmlab
def test_transform__shipped_imagenet_recipes(assert_equal_to_mmcls, recipe, size):
    steps = pipeline_of(recipe)
    assert_equal_to_mmcls(steps, picture_of(*size))


@pytest.mark.parametrize(
    "resize",
    [
        {"size": 224},
        {"size": [200, 300]},
        {"size": (200, 300), **PILLOW_BICUBIC},
        {"size": [256, -1], "interpolation": "nearest"},
        {"size": [256, -1], "interpolation": "bicubic"},
        {"size": [256, -1], "interpolation": "area"},
        {"size": [256, -1], "interpolation": "lanczos"},
        {"size": [256, -1], "adaptive_side": "height"},
        {"size": [256, -1], "adaptive_side": "width", **PILLOW_BICUBIC},
        *({"size": [200, -1], "backend": "pillow", "interpolation": name} for name in ("nearest", "bilinear", "box")),
        *({"size": [200, -1], "backend": "pillow", "interpolation": name} for name in ("hamming", "lanczos")),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (200, 256), (512, 512), (701, 431)], ids=str)
@pytest.mark.parametrize("to_rgb", [True, False])
@pytest.mark.openmmlab
def test_transform__resize_forms(assert_equal_to_mmcls, resize, size, to_rgb):
    steps = [{"type": "Resize", **resize}, {**IMAGENET, "to_rgb": to_rgb}, *END]
    assert_equal_to_mmcls(steps, picture_of(*size))


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
@pytest.mark.parametrize("size", [(37, 53), (256, 256), (300, 100)], ids=str)
@pytest.mark.openmmlab
def test_transform__long_side(assert_equal_to_mmcls, backend, size):
    resize = {"type": "Resize", "size": [256, -1], "adaptive_side": "long", "backend": backend}
    assert_equal_to_mmcls([resize, IMAGENET, *END], picture_of(*size))


@pytest.mark.parametrize(
    "crop",
    [
        {"crop_size": 224},
        {"crop_size": [100, 31]},
        {"crop_size": 380, "efficientnet_style": True, "interpolation": "bicubic"},
        {"crop_size": 64, "efficientnet_style": True, "crop_padding": 0, "backend": "pillow"},
        {"crop_size": 33, "efficientnet_style": True},
    ],
    ids=str,
)
# Where less than a pixel would be cut out of (1, 9), mmcls fails; see below.
@pytest.mark.parametrize("size", [size for size in SIZES if size != (1, 9)], ids=str)
@pytest.mark.openmmlab
def test_transform__crop_forms(assert_equal_to_mmcls, crop, size):
    assert_equal_to_mmcls([{"type": "CenterCrop", **crop}, IMAGENET, *END], picture_of(*size))


def test_transform__efficientnet_crop_keeps_a_pixel():
    crop = CenterCrop(8, efficientnet_style=True)
    transform = EvaluationTransform([crop, Normalize((0, 0, 0), (1, 1, 1)), ImageToTensor()])
    array = np.arange(27, dtype=np.uint8).reshape(1, 9, 3)
    # Sides 0.2 around 4.5: the fifth of nine columns, all over.
    assert torch.equal(transform(Image.fromarray(array)), torch.tensor([12.0, 13, 14])[:, None, None].expand(3, 8, 8))


@pytest.mark.parametrize(
    "pad",
    [
        {"size": [300, 40]},
        {"pad_to_square": True},
        {"pad_to_square": True, "pad_val": 114},
        {"pad_to_square": True, "pad_val": [10.5, 300, -1]},
        *({"size": [250, 260], "padding_mode": mode} for mode in ("edge", "reflect", "symmetric")),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (37, 53), (300, 2), (299, 301)], ids=str)
@pytest.mark.parametrize("after_normalize", [False, True])
@pytest.mark.parametrize("to_rgb", [True, False])
@pytest.mark.openmmlab
def test_transform__pad_forms(assert_equal_to_mmcls, pad, size, after_normalize, to_rgb):
    normalize = {**IMAGENET, "to_rgb": to_rgb}
    steps = [{"type": "Pad", **pad}, normalize]
    assert_equal_to_mmcls([*(steps[::-1] if after_normalize else steps), *END], picture_of(*size))


@pytest.mark.openmmlab
def test_transform__crop_after_normalize(assert_equal_to_mmcls):
    steps = [{"type": "Resize", "size": [256, -1]}, IMAGENET, {"type": "CenterCrop", "crop_size": 224}, *END]
    assert_equal_to_mmcls(steps, picture_of(301, 203))


@given(
    height=st.integers(1, 320),
    width=st.integers(1, 320),
    side=st.integers(1, 80),
    crop=st.integers(1, 80),
    backend=st.sampled_from(["cv2", "pillow"]),
    colours=st.tuples(*[st.floats(0, 255, width=32)] * 3, *[st.floats(0.0625, 512, width=32)] * 3),
    to_rgb=st.booleans(),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.openmmlab
def test_transform__any_size_and_colour(assert_equal_to_mmcls, height, width, side, crop, backend, colours, to_rgb):
    steps = [
        {"type": "Resize", "size": (side, -1), "backend": backend},
        {"type": "CenterCrop", "crop_size": crop},
        {"type": "Normalize", "mean": colours[:3], "std": colours[3:], "to_rgb": to_rgb},
        *END,
    ]
    assert_equal_to_mmcls(steps, picture_of(height, width, seed=height))


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("backend", ["cv2", "pillow"])
@pytest.mark.openmmlab
def test_transform__photographs(assert_equal_to_mmcls, name, backend):
    steps = [{"type": "Resize", "size": [256, -1], "backend": backend}, {"type": "CenterCrop", "crop_size": 224}]
    assert_equal_to_mmcls([*steps, IMAGENET, *END], Image.fromarray(load_sample_image(name)))


def test_transform__evaluation_steps_equal_torchvision():
    from torchvision.transforms import v2

    picture = Image.fromarray(load_sample_image("china.jpg"))
    ours = EvaluationTransform(evaluation_steps(224, mean=[127.5] * 3, std=[127.5] * 3, crop_pct=0.9))(picture)
    theirs = v2.Compose(
        [
            v2.Resize(248, v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )(picture)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_transform__threads_share_it():
    transform = EvaluationTransform(evaluation_steps(64, mean=[0.0] * 3, std=[1.0] * 3, crop_pct=0.9))
    pictures = [picture_of(80 + 7 * number, 120, seed=number) for number in range(8)]
    expected = [transform(picture) for picture in pictures]
    results: dict[int, torch.Tensor] = {}

    def work(number: int) -> None:
        for _ in range(5):
            results[number] = transform(pictures[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[number], expected[number]) for number in range(8))


def test_transform__goes_to_worker_processes():
    transform = EvaluationTransform(evaluation_steps(64, mean=[9.0] * 3, std=[3.0] * 3, crop_pct=0.9))
    picture = picture_of(80, 120)
    assert torch.equal(pickle.loads(pickle.dumps(transform))(picture), transform(picture))


def test_transform__leaves_the_picture_alone():
    picture = picture_of(40, 50)
    before = picture.tobytes()
    EvaluationTransform([Pad(pad_to_square=True), Normalize((1, 2, 3), (1, 2, 3)), ImageToTensor()])(picture)
    assert picture.tobytes() == before


def test_transform__steps_without_normalisation():
    with pytest.raises(SettingsError, match="exactly one Normalize"):
        EvaluationTransform([Resize(224), ImageToTensor()])


def test_transform__picture_of_another_mode():
    transform = EvaluationTransform([CenterCrop(2), Normalize((0, 0, 0), (1, 1, 1)), ImageToTensor()])
    with pytest.raises(ImageError, match="mode L"):
        transform(Image.new("L", (4, 4)))


@pytest.mark.parametrize(
    ("step", "size"),
    [
        (Resize((224, -1), adaptive_side="long"), (1000, 2)),  # the short side would be 0
        (Resize((256, -1)), (1, 10_000)),  # 655 million pixels
        (Pad(pad_to_square=True), (1, 20_000)),
    ],
)
def test_transform__extreme_shapes(step, size):
    transform = EvaluationTransform([step, Normalize((0, 0, 0), (1, 1, 1)), ImageToTensor()])
    with pytest.raises(ImageError, match=f"{size[0]}x{size[1]} pixels would become"):
        transform(Image.new("RGB", size))
