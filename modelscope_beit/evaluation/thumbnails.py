"""A picture of a data set -> a small one as a data: address, to be put into a page."""

import base64
import io
from typing import Any

from PIL import Image, ImageOps

from modelscope_beit.errors import ImageError
from modelscope_beit.images.reading import read_image

SIDE_PIXELS = 160


def thumbnail_address(image: Any) -> str | None:
    """Returns a data: address of the picture with sides of at most SIDE_PIXELS; None if it cannot be read any more.

    image: whatever images/reading.py reads. Pictures that are small already are kept pixel by pixel, as PNG; the others
    become JPEG, without the metadata of the original (a photograph may say where it was taken).
    """
    try:
        picture = read_image(image)
    except ImageError:
        return None
    if max(picture.size) > SIDE_PIXELS:
        picture = ImageOps.contain(picture, (SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS)
    small = Image.frombytes("RGB", picture.size, picture.tobytes())  # Only the pixels, nothing of picture.info.
    is_icon = max(small.size) <= SIDE_PIXELS // 2
    kind, options = ("PNG", {}) if is_icon else ("JPEG", {"quality": 80})
    stream = io.BytesIO()
    small.save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
