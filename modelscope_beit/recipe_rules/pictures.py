"""The steps from a picture to the network's input that rules choose, in mmcls's words. Standard library only."""

from collections.abc import Sequence

# From this area (pixels) on, BigTransfer takes pictures for large ones.
_SMALL_AREA = 96 * 96
_FLIP = {"type": "RandomFlip", "flip_prob": 0.5, "direction": "horizontal"}


def are_small(picture_size: tuple[int, int] | None) -> bool:
    """Tells whether pictures of (height, width) pixels are small; those of unknown size are not."""
    return picture_size is not None and picture_size[0] * picture_size[1] < _SMALL_AREA


def flip_steps(has_signs: bool) -> tuple[list[dict[str, object]], str]:
    """Returns the step that mirrors pictures, or none, and why."""
    if has_signs:
        return [], "not mirrored: the classes are single letters or digits"
    return [dict(_FLIP)], "mirrored every other time; remove RandomFlip where a mirrored picture is of another class"


def around(
    random_steps: Sequence[dict[str, object]], val_steps: Sequence[dict[str, object]]
) -> list[dict[str, object]]:
    """Returns training steps: reading, random ones, the normalisation that evaluation has, tensors."""
    return [
        {"type": "LoadImageFromFile"},
        *random_steps,
        *(dict(step) for step in val_steps if step.get("type") == "Normalize"),
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "ToTensor", "keys": ["gt_label"]},
        {"type": "Collect", "keys": ["img", "gt_label"]},
    ]


def evaluation_around(
    fixed_steps: Sequence[dict[str, object]], val_steps: Sequence[dict[str, object]]
) -> list[dict[str, object]]:
    """Returns evaluation steps: reading, fixed ones, the normalisation that there was, tensors."""
    return [
        {"type": "LoadImageFromFile"},
        *fixed_steps,
        *(dict(step) for step in val_steps if step.get("type") == "Normalize"),
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]


def resampling(val_steps: Sequence[dict[str, object]]) -> dict[str, object]:
    """Returns backend and interpolation of the Resize of evaluation; Pillow's bicubic filter where there is none."""
    resize = next((step for step in val_steps if step.get("type") == "Resize"), {})
    return {
        "backend": resize.get("backend", "cv2" if resize else "pillow"),
        "interpolation": resize.get("interpolation", "bilinear" if resize else "bicubic"),
    }


def normalisation(val_steps: Sequence[dict[str, object]]) -> tuple[list[float], list[float]]:
    """Returns mean and deviation of the channels blue, green, red, from 0 to 255; half of it each if nobody says."""
    step = next((step for step in val_steps if step.get("type") == "Normalize"), {})
    mean, std = (step.get(name) for name in ("mean", "std"))
    if not isinstance(mean, list | tuple) or not isinstance(std, list | tuple):
        return [127.5] * 3, [127.5] * 3
    order = slice(None, None, -1) if step.get("to_rgb", True) else slice(None)
    return list(mean[order]), list(std[order])
