"""The steps from a picture to the network's input as plain data, which a short script in any language can follow.

Every step is a mapping with its name under "step"; sizes are [height, width] in pixels:

    resize        library, filter; "to" [h, w], or "side" (short, long, height, width) and its "pixels": the other
                  side keeps the proportions and is rounded down
    center_crop   "to" [h, w], of a smaller picture all there is; "rounding" of an odd half: half_even or down
    crop_share    cut "pixels" / ("pixels" + "margin") of the short side out of the middle, then resize to "pixels"
    pad           below and at the right, "to" [h, w] or "square"; "mode", and "values" for constant: before normalize
                  red, green, blue, after it in the network's order
    normalize     (value from 0 to 255 - "mean") / "std", "channels" in that order: RGB or BGR
"""

from collections.abc import Callable, Mapping
from typing import Any

from modelscope_beit.errors import ExportError, SettingsError
from modelscope_beit.settings.foreign_steps import ForeignSteps, Preprocessing
from modelscope_beit.settings.preprocessing import (
    CenterCrop,
    ImageToTensor,
    Normalize,
    Pad,
    Resize,
    Step,
    check_order,
)

Data = dict[str, Any]

# What the script follows that is written beside an ONNX file.
_OF_THE_SCRIPT = ("resize", "center_crop", "normalize")
_ROUNDING = {False: "half_even", True: "down"}


def steps_as_data(preprocessing: Preprocessing) -> list[Data]:
    """Returns a mapping for each step that changes the picture.

    Raises SettingsError for steps that mmcls makes: what these do is known to its code only.
    """
    if isinstance(preprocessing, ForeignSteps):
        raise SettingsError(
            f"The preprocessing cannot be written as data, because mmcls makes it: {'; '.join(preprocessing.reasons)}. "
            "Replace these steps by native ones in preprocessor.val."
        )
    written: list[Data] = []
    is_normalized = False
    for step in preprocessing:
        is_normalized |= isinstance(step, Normalize)
        if isinstance(step, Resize):
            written.append(_resize(step))
        elif isinstance(step, CenterCrop):
            written.append(_crop(step))
        elif isinstance(step, Pad):
            written.append(_pad(step, is_normalized=is_normalized))
        elif isinstance(step, Normalize):
            channels = "RGB" if step.to_rgb else "BGR"
            written.append(
                {"step": "normalize", "mean": [*step.mean], "std": [*step.std], "channels": channels},
            )
    return written


def steps_of_data(data: list[Data], where: str) -> tuple[Step, ...]:
    """Returns the steps that steps_as_data has written: they make the same numbers of every picture.

    where: the file, for messages. Raises ExportError if it has been written by something else.
    """
    steps: list[Step] = []
    try:
        for mapping in data:
            is_normalized = any(isinstance(step, Normalize) for step in steps)
            steps.append(_READERS[mapping["step"]](mapping, is_normalized))
        steps.append(ImageToTensor())
        check_order(steps)
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"{where} must hold steps as {__name__} writes them, but has {data!r:.200} "
            f"({type(error).__name__}: {error})."
        ) from error
    return tuple(steps)


def why_not_scripted(data: list[Data]) -> str | None:
    """Returns why the reference script cannot follow these steps, as a clause; None if it can."""
    reasons = [f"the step {one['step']}" for one in data if one["step"] not in _OF_THE_SCRIPT]
    reasons += [
        f"resizing with the pixels of {one['library']}" for one in data if one.get("library", "pillow") != "pillow"
    ]
    reasons += ["a step after normalize"] if data[-1]["step"] != "normalize" else []
    return " and ".join(reasons) or None


def _resize(step: Resize) -> Data:
    how = {"step": "resize", "library": step.backend, "filter": step.interpolation}
    if isinstance(step.size, int):
        return how | {"to": [step.size, step.size]}
    if step.size[1] != -1:
        return how | {"to": [*step.size]}
    return how | {"side": step.adaptive_side, "pixels": step.size[0]}


def _crop(step: CenterCrop) -> Data:
    rounding = _ROUNDING[step.round_down]
    if step.efficientnet_style:
        how = {"library": step.backend, "filter": step.interpolation, "rounding": rounding}
        return {"step": "crop_share", "pixels": step.crop_size, "margin": step.crop_padding, **how}
    size = [step.crop_size, step.crop_size] if isinstance(step.crop_size, int) else [*step.crop_size]
    return {"step": "center_crop", "to": size, "rounding": rounding}


def _pad(step: Pad, *, is_normalized: bool) -> Data:
    values = [*step.pad_val] if isinstance(step.pad_val, tuple) else [step.pad_val, 0, 0]
    return {
        "step": "pad",
        "to": "square" if step.size is None else [*step.size],
        "mode": step.padding_mode,
        # mm's order is blue, green, red until normalisation.
        "values": values if is_normalized else values[::-1],
    }


def _read_resize(data: Mapping[str, Any], is_normalized: bool) -> Resize:
    how = {"interpolation": data["filter"], "backend": data["library"]}
    if "to" in data:
        height, width = data["to"]
        return Resize((height, width), **how)
    return Resize((data["pixels"], -1), adaptive_side=data["side"], **how)


def _read_crop(data: Mapping[str, Any], is_normalized: bool) -> CenterCrop:
    height, width = data["to"]
    return CenterCrop((height, width), round_down=data["rounding"] == "down")


def _read_crop_share(data: Mapping[str, Any], is_normalized: bool) -> CenterCrop:
    return CenterCrop(
        data["pixels"],
        efficientnet_style=True,
        crop_padding=data["margin"],
        interpolation=data["filter"],
        backend=data["library"],
        round_down=data["rounding"] == "down",
    )


def _read_pad(data: Mapping[str, Any], is_normalized: bool) -> Pad:
    values = tuple(data["values"] if is_normalized else data["values"][::-1])
    if data["to"] == "square":
        return Pad(pad_to_square=True, pad_val=values, padding_mode=data["mode"])
    height, width = data["to"]
    return Pad((height, width), pad_val=values, padding_mode=data["mode"])


def _read_normalize(data: Mapping[str, Any], is_normalized: bool) -> Normalize:
    (red, green, blue), (red_std, green_std, blue_std) = data["mean"], data["std"]
    return Normalize((red, green, blue), (red_std, green_std, blue_std), to_rgb=data["channels"] == "RGB")


_READERS: dict[str, Callable[[Mapping[str, Any], bool], Step]] = {
    "resize": _read_resize,
    "center_crop": _read_crop,
    "crop_share": _read_crop_share,
    "pad": _read_pad,
    "normalize": _read_normalize,
}
