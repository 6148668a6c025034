import ast
import importlib.util
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.images.training_transform import TrainingTransform
from modelscope_beit.settings.preprocessing import ImageToTensor, Normalize, Resize
from modelscope_beit.settings.problems import Problems
from modelscope_beit.settings.training_steps import read_training_steps

MMCLS = importlib.util.find_spec("mmcls")
CONFIGS = Path(MMCLS.origin).parent / ".mim/configs/_base_/datasets" if MMCLS else Path()
# imagenet_bs64_autoaug builds on policies that mmcls does not ship.
RECIPES = [path for path in sorted(CONFIGS.glob("*.py")) if path.stem != "imagenet_bs64_autoaug"] if MMCLS else []
IMAGENET = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
END = [{"type": "ImageToTensor", "keys": ["img"]}, {"type": "Collect", "keys": ["img"]}]
CROP = {"type": "RandomResizedCrop", "size": 48, "backend": "pillow", "interpolation": "bicubic"}
EIGVAL = [55.4625, 4.794, 1.1475]
EIGVEC = [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]


def picture_of(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def transform_of(steps: list[dict]) -> TrainingTransform:
    problems = Problems()
    transform = read_training_steps(steps, "preprocessor.train", problems)
    assert problems == Problems()
    return TrainingTransform(transform)


def pipeline_of(recipe: Path) -> list[dict]:
    """The training pipeline of an mmcls recipe, read without mmcv, which cannot always read them."""
    names = {"img_norm_cfg", "train_pipeline", "rand_increasing_policies", "policy_imagenet"}
    values: dict = {}
    for path in (CONFIGS / "pipelines/rand_aug.py", CONFIGS / "pipelines/auto_aug.py", recipe):
        tree = ast.parse(re.sub(r"{{_base_\.(\w+)}}", r"\1", path.read_text()))
        tree.body = [node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id in names]
        exec(compile(tree, str(path), "exec"), values)
    steps = [step for step in values["train_pipeline"] if step["type"] != "ToTensor"]
    return [{**step, "keys": ["img"]} if step["type"] == "Collect" else step for step in steps]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
@pytest.mark.openmmlab
def test_transform__shipped_recipes_equal_mmcls(by_mmcls, recipe):
    steps = pipeline_of(recipe)
    transform = transform_of(steps)
    for seed in range(6):
        height, width = np.random.default_rng(seed).integers(64, 600, 2)
        picture = picture_of(height, width, seed)
        expected = by_mmcls(steps, picture, np.random.default_rng(seed))
        ours = transform(picture, np.random.default_rng(seed))
        assert ours.dtype == torch.float32
        assert ours.is_contiguous()
        assert torch.equal(ours, expected)


ORDERS = {
    "flips": [CROP, {"type": "RandomFlip", "flip_prob": 0.6, "direction": "vertical"}, IMAGENET, *END],
    "flip first": [{"type": "RandomFlip"}, CROP, IMAGENET, *END],
    "after Normalize": [
        CROP,
        {**IMAGENET, "to_rgb": False},
        {"type": "RandomFlip"},
        {"type": "RandomErasing", "erase_prob": 0.9, "fill_color": [10, 20, 30]},
        {"type": "RandomCrop", "size": 40, "padding": 4, "pad_val": (0.5, 0.25, -1.0)},
        {"type": "Pad", "size": (44, 50), "pad_val": (1.0, 2.0, 3.0)},
        {"type": "CenterCrop", "crop_size": 42},
        *END,
    ],
    "fixed steps": [
        {"type": "Resize", "size": (50, -1)},
        {"type": "Pad", "size": (60, 60), "pad_val": (1, 2, 3)},
        {"type": "CenterCrop", "crop_size": 40},
        IMAGENET,
        *END,
    ],
    "colour": [
        CROP,
        {"type": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4},
        {"type": "RandomGrayscale", "gray_prob": 0.5},
        IMAGENET,
        *END,
    ],
    "lighting": [
        CROP,
        {"type": "Lighting", "eigval": EIGVAL, "eigvec": EIGVEC, "alphastd": 0.5, "to_rgb": False},
        {"type": "RandomFlip"},
        {"type": "RandomErasing", "fill_color": (10, 20, 30)},
        IMAGENET,
        *END,
    ],
    "lighting that turns the channels": [
        CROP,
        {"type": "Lighting", "eigval": EIGVAL, "eigvec": EIGVEC, "alphastd": 0.5, "to_rgb": True},
        {"type": "Pad", "size": (50, 52), "pad_val": (1, 2, 3)},
        {**IMAGENET, "to_rgb": False},
        *END,
    ],
    "operations as steps": [
        CROP,
        {"type": "Posterize", "bits": 4, "prob": 0.5},
        {"type": "Rotate", "angle": 30.0, "pad_val": (1, 2, 3)},
        {"type": "Cutout", "shape": 12, "pad_val": (1, 2, 3)},
        IMAGENET,
        *END,
    ],
}


@pytest.mark.parametrize("steps", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.openmmlab
def test_transform__orders_equal_mmcls(by_mmcls, steps):
    transform = transform_of(steps)
    for seed in range(12):
        picture = picture_of(*np.random.default_rng(seed).integers(20, 120, 2), seed)
        expected = by_mmcls(steps, picture, np.random.default_rng(seed))
        assert torch.equal(transform(picture, np.random.default_rng(seed)), torch.as_tensor(expected))


def test_transform__diagonal_flip():
    steps = [{"type": "Resize", "size": 30}, {"type": "RandomFlip", "flip_prob": 1, "direction": "diagonal"}]
    picture = picture_of(30, 30)
    turned = transform_of([*steps, IMAGENET, *END])(picture, np.random.default_rng(0))
    plain = transform_of([steps[0], IMAGENET, *END])(picture, np.random.default_rng(0))
    assert torch.equal(turned, plain.flip(1, 2))


def test_transform__same_numbers_same_picture_and_nothing_changes():
    transform = transform_of([CROP, {"type": "RandAugment", "num_policies": 2, "magnitude_level": 9}, IMAGENET, *END])
    picture = picture_of(90, 70)
    before = np.array(picture)
    results = [transform(picture, np.random.default_rng([7, 1, index])) for index in (0, 1, 0)]
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])
    assert (np.array(picture) == before).all()


def test_transform__travels_to_worker_processes():
    transform = transform_of([CROP, {"type": "RandAugment", "num_policies": 2, "magnitude_level": 9}, IMAGENET, *END])
    copy = pickle.loads(pickle.dumps(transform))
    picture = picture_of(90, 70)
    assert torch.equal(copy(picture, np.random.default_rng(3)), transform(picture, np.random.default_rng(3)))


def test_transform__needs_no_state_of_others(monkeypatch):
    def fail(*_):
        raise AssertionError("a number was drawn that does not come from the generator")

    for name in ("random", "rand", "uniform", "randint", "normal"):
        monkeypatch.setattr(np.random, name, fail)
    state = torch.random.get_rng_state()
    transform = transform_of([CROP, {"type": "RandAugment", "num_policies": 2, "magnitude_level": 9}, IMAGENET, *END])
    for seed in range(20):
        transform(picture_of(50, 50), np.random.default_rng(seed))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_transform__refuses_what_is_not_rgb():
    transform = transform_of([CROP, IMAGENET, *END])
    with pytest.raises(ImageError, match="not one of mode L"):
        transform(picture_of(9, 9).convert("L"), np.random.default_rng(0))


def test_transform__refuses_steps_that_make_no_batch():
    normalize = Normalize((0, 0, 0), (1, 1, 1))
    with pytest.raises(SettingsError, match="one size"):
        TrainingTransform([Resize((32, -1)), normalize, ImageToTensor()])
