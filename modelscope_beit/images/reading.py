"""File, URL, bytes, array or picture -> RGB picture, upright, as a viewer would show it.

Colour profiles are not applied: networks are trained on pictures read without them. Of an animation the first frame
counts. Transparent parts show white.
"""

import io
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import ExifTags, Image, UnidentifiedImageError

from modelscope_beit.errors import ImageError
from modelscope_beit.images.color_modes import to_rgb
from modelscope_beit.images.downloading import download, is_url, shortened

_logger = logging.getLogger(__name__)

# The header's size is checked against this before anything is decoded: 1.2 GB as Pillow keeps it. Pillow's own limit,
# PIL.Image.MAX_IMAGE_PIXELS (an error above twice that), is left as the program has set it.
MAX_PIXELS = 300_000_000

# Under this key of its `info` a picture that was decoded smaller has the (width, height) that it would have had.
FULL_SIZE = "modelscope_beit: full size"
_SCALABLE_FORMATS = ("JPEG", "MPO")

# PostScript is a program, which Pillow hands to Ghostscript to run.
_REFUSED_FORMATS = ("EPS",)

# By the EXIF tag Orientation, EXIF 2.3 table 5.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)

# (width, height) of an upright picture -> the least that is needed of it.
LeastSize = Callable[[int, int], tuple[int, int]]


def read_image(source: Any, *, least: LeastSize | None = None) -> Image.Image:
    """Returns the picture as RGB.

    source: a path; a URL (http, https, file, data); the bytes of a file; a Pillow picture; a uint8 array (H, W),
    (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, as OpenCV reads files; or a mapping with one of these under "image".
    Files, URLs and bytes are turned upright by their EXIF orientation; Pillow pictures and arrays are taken as they
    are, as ModelScope does. A Pillow picture that is RGB already is returned itself, not copied.
    least: allows the file of a JPEG to be decoded at a half, a quarter or an eighth of its sides, which is faster,
    where both stay as large as this says; the picture then has info[FULL_SIZE].
    Raises ImageError that names the source and the cause for whatever cannot be read.
    """
    if isinstance(source, Mapping):
        if "image" not in source:
            raise ImageError(f"A mapping with the key 'image' is expected, but it has only {list(source)}.")
        source = source["image"]
    if isinstance(source, np.ndarray):
        return _picture_from_array(source)
    if isinstance(source, Image.Image):
        name = f"The picture {getattr(source, 'filename', '') or repr(source)}"
        return _decoded(source, name, apply_orientation=False)
    if isinstance(source, bytes | bytearray | memoryview):
        return _picture_from_stream(io.BytesIO(source), f"The picture of {len(source)} bytes", least)
    if isinstance(source, str) and is_url(source):
        return _picture_from_stream(io.BytesIO(download(source)), shortened(source), least)
    if isinstance(source, str | os.PathLike):
        return _picture_from_file(source, least)
    raise ImageError(
        "A path, URL, bytes, Pillow picture, uint8 array or a mapping with one of these under 'image' is expected, "
        f"but a {type(source).__name__} came."
    )


def _picture_from_file(path: str | os.PathLike, least: LeastSize | None) -> Image.Image:
    name = str(path)
    try:
        with open(path, "rb") as file:
            return _picture_from_stream(file, name, least)
    except ImageError:
        raise
    # ValueError: a null character in the path.
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be opened: {getattr(error, 'strerror', None) or error}.") from error


def _picture_from_stream(stream: BinaryIO, name: str, least: LeastSize | None) -> Image.Image:
    beginning = stream.read(8)
    if not beginning:
        raise ImageError(f"{name}: is empty (0 bytes).")
    try:
        picture = Image.open(stream)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: is no picture that Pillow {PIL.__version__} can read; it begins with {beginning!r}."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: too large. {error} Set PIL.Image.MAX_IMAGE_PIXELS to read it.") from error
    # Pillow's readers let errors of every kind escape when the bytes are broken on purpose.
    except Exception as error:
        raise ImageError(f"{name}: the header cannot be read: {_cause(error)}.") from error
    if picture.format in _REFUSED_FORMATS:
        raise ImageError(f"{name}: {picture.format} files are programs and are not run; convert it to PNG first.")
    return _decoded(picture, name, apply_orientation=True, least=least)


def _decoded(
    picture: Image.Image, name: str, *, apply_orientation: bool, least: LeastSize | None = None
) -> Image.Image:
    width, height = picture.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has {width}x{height} pixels, but at least one is expected.")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: has {width}x{height} pixels, but at most {MAX_PIXELS} are read.")
    try:
        full_size = None if least is None else _decode_smaller(picture, least)
        picture.load()
        turn = _turn(picture) if apply_orientation else None
        picture = to_rgb(picture)
        picture = picture if turn is None else picture.transpose(turn)
        if full_size is not None:
            picture.info[FULL_SIZE] = full_size
        return picture
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    # As above: broken bytes raise OSError, SyntaxError, ValueError, struct.error and many others.
    except Exception as error:
        raise ImageError(f"{name}: the pixels cannot be decoded: {_cause(error)}.") from error


def _decode_smaller(picture: Image.Image, least: LeastSize) -> tuple[int, int] | None:
    """Lets libjpeg leave out the fine parts of a picture. Returns its full upright size if it will be smaller."""
    if picture.format not in _SCALABLE_FORMATS:
        return None
    stored_width, stored_height = picture.size
    turn = _turn(picture)
    width, height = (stored_height, stored_width) if turn in _SWAPS_SIDES else (stored_width, stored_height)
    least_width, least_height = least(width, height)
    for fraction in (8, 4, 2):
        # libjpeg rounds sides up, at the right and below: of a turned picture that may be the left and the top.
        is_even = turn is None or not (width % fraction or height % fraction)
        if is_even and width // fraction >= least_width and height // fraction >= least_height:
            picture.draft(None, (stored_width // fraction, stored_height // fraction))
            return width, height
    return None


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """Returns what turns a picture upright. Viewers show pictures with broken EXIF data as they are, so do we."""
    # Broken EXIF data raise as many kinds of errors as broken pixels do.
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:
        _logger.info("A picture is taken as it lies: its EXIF data cannot be read: %s", _cause(error))
        return None


def _cause(error: Exception) -> str:
    return f"{error} ({type(error).__name__})" if str(error) else type(error).__name__


def _picture_from_array(array: np.ndarray) -> Image.Image:
    name = f"The array of shape {array.shape} and type {array.dtype}"
    if array.dtype.kind == "f":
        advice = "multiply values from 0 to 1 by 255, round, and convert with .astype('uint8')"
        raise ImageError(f"{name}: pixels of type uint8, from 0 to 255, are expected; {advice}.")
    if array.dtype != np.uint8:
        raise ImageError(f"{name}: pixels of type uint8, from 0 to 255, are expected; scale and convert them first.")
    if array.ndim not in (2, 3) or array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        advice = "; transpose it with .transpose(1, 2, 0)" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(f"{name}: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) is expected{advice}.")
    if not array.size:
        raise ImageError(f"{name}: at least one pixel is expected.")
    if array.ndim == 2 or array.shape[2] == 1:
        return Image.fromarray(np.ascontiguousarray(array.reshape(array.shape[:2]))).convert("RGB")
    if array.shape[2] == 3:
        return Image.fromarray(np.ascontiguousarray(array[:, :, ::-1]))
    return to_rgb(Image.fromarray(np.ascontiguousarray(array[:, :, [2, 1, 0, 3]])))
