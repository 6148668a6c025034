"""A Pillow picture of any mode -> RGB, as a viewer would show it."""

import numpy as np
from PIL import Image

_MODES_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def to_rgb(picture: Image.Image) -> Image.Image:
    """Returns the picture as RGB; itself, if it is RGB without transparency.

    Transparent parts show white. Grey values of 16 bits keep their upper 8, as those of 16-bit colour files do. Whole
    numbers and floats of 32 bits are scaled by what they hold; see _bytes. CMYK is converted without a colour profile.
    """
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        return Image.fromarray(_bytes(np.asarray(picture))).convert("RGB")
    if picture.mode in _MODES_WITH_ALPHA or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        shown = Image.new("RGB", picture.size, "white")
        shown.paste(picture, mask=picture)
        return shown
    if picture.mode == "RGB":
        return picture
    return picture.convert("RGB")


def _bytes(values: np.ndarray) -> np.ndarray:
    """Returns values of 32 bits as bytes.

    The file does not say which value is white, so it is the smallest usual one that none exceeds: 1 (floats only), 255
    or 65535. Where a value is negative or exceeds all of these, the smallest is black and the largest white.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = finite.min(), finite.max()
    values = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    whites = (1, 255, 65535) if finite.dtype.kind == "f" else (255, 65535)
    fitting = [white for white in whites if low >= 0 and high <= white]
    if not fitting:
        # In double precision, because the span of 32-bit integers is no 32-bit integer.
        span = float(high) - float(low)
        return np.rint((values - float(low)) * (255 / span if span else 0)).astype(np.uint8)
    if fitting[0] == 65535:
        return (values // 256).astype(np.uint8)
    return np.rint(values * (255 / fitting[0])).astype(np.uint8)
