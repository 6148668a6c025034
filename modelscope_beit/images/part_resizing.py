"""Pillow's resizing where only a part of the result is kept: the same bits, with less of the rest computed.

Pillow resizes in two passes: first the rows to the new width, rounded to bytes, then the columns to the new height.
Along a side where the part begins and ends at places that binary fractions hold, Pillow's own `box` computes with the
same weights. Along another side all places are computed, but only of the rows or columns that are needed.
Source: Pillow 12, src/libImaging/Resample.c (precompute_coeffs, ImagingResampleInner).
"""

import math

import numpy as np
from PIL import Image

PILLOW_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
}
# Pixels, of the smaller picture, that the widest of them reaches to each side.
_REACH = 3
# Copying so many of the rows takes longer than resizing all.
_MOST_ROWS = 0.8


def resize_part(
    picture: Image.Image, size: tuple[int, int], part: tuple[int, int, int, int], interpolation: str
) -> Image.Image:
    """Returns `picture.resize(size).crop(part)`, bit by bit.

    size: (width, height). part: (left, top, right, bottom) of the resized picture, in its pixels, right and bottom the
    first beyond it. interpolation: a name of PILLOW_FILTERS.
    """
    resampling = PILLOW_FILTERS[interpolation]
    is_cut = part != (0, 0, *size)
    # Very high pictures are resized columns first.
    if not is_cut or picture.size == size or interpolation == "nearest" or picture.height > 100 * picture.width:
        return picture.resize(size, resampling).crop(part)
    left, top, right, bottom = part
    columns = _exact_source(left, right, size[0], picture.width)
    rows = _exact_source(top, bottom, size[1], picture.height)
    if columns is None:
        columns, width = (0, picture.width), size[0]
    else:
        left, right, width = 0, right - left, right - left
    if rows is not None:
        resized = picture.resize((width, bottom - top), resampling, (columns[0], rows[0], columns[1], rows[1]))
        return resized.crop((left, 0, right, bottom - top))
    first, last = _needed(top, bottom, size[1], picture.height)
    if last - first > _MOST_ROWS * picture.height:
        first, last, source = 0, picture.height, picture
    else:
        source = picture.crop((0, first, picture.width, last))
    narrow = source.resize((width, last - first), resampling, (columns[0], 0, columns[1], last - first))
    # As high as the whole, so that the weights of the second pass are those of the whole.
    whole = Image.new(picture.mode, (right - left, picture.height))
    whole.paste(narrow.crop((left, 0, right, last - first)), (0, first))
    return whole.resize((right - left, size[1]), resampling).crop((0, top, right - left, bottom))


def _exact_source(start: int, end: int, size: int, source: int) -> tuple[float, float] | None:
    """Returns where pixels start to end of `size` lie among `source` pixels; None if Pillow would compute otherwise.

    Pillow keeps the two in single precision and computes with their difference. If the scale is a binary fraction as
    well, or the first place 0, each pixel's place is the same double as without a box.
    """
    first, last = start * source / size, end * source / size
    fits = all(float(np.float32(place)) * size == pixels * source for place, pixels in ((first, start), (last, end)))
    fits = fits and float(np.float32(last - first)) == last - first
    power = size // math.gcd(size, source)
    return (first, last) if fits and (start == 0 or power & (power - 1) == 0) else None


def _needed(start: int, end: int, size: int, source: int) -> tuple[int, int]:
    """Returns a span of the `source` pixels that has all that make pixels start to end of `size`."""
    scale = source / size
    reach = _REACH * max(scale, 1) + 1
    return max(0, math.floor(start * scale - reach)), min(source, math.ceil(end * scale + reach))
