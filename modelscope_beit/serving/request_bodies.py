"""A request -> the pictures in it: raw bytes, multipart/form-data, or JSON with base64, data: URLs and perhaps URLs.

Nothing larger than the limits is ever held in memory. Raises HTTPException with the status that says what is wrong.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from modelscope_beit.images.downloading import is_url
from modelscope_beit.settings.serving import ServingSettings

# Whoever has sent too much or too slowly is not listened to any longer.
_HANG_UP = {"Connection": "close"}
# The last one is what curl --data-binary says where nobody tells it.
_RAW = ("application/octet-stream", "image/", "application/x-www-form-urlencoded")
_MULTIPART = "multipart/form-data"
_JSON = "application/json"


@dataclass(frozen=True)
class AskedPictures:
    """What a request asks. pictures: the content of each file, or the URL that it has to be fetched from.

    topk: as a JSON body says it; None: it does not.
    """

    pictures: tuple[bytes | str, ...]
    topk: int | None = None


async def read_pictures(request: Request, settings: ServingSettings) -> AskedPictures:
    """Returns what a request asks.

    Raises HTTPException: 408 if the body does not arrive in time, 413 if it is too large or has too many pictures, 415
    for another type, 422 if it cannot be understood, 403 for a URL where none are fetched.
    """
    kind = request.headers.get("content-type", _RAW[0]).partition(";")[0].strip().lower()
    if kind not in (_MULTIPART, _JSON) and not kind.startswith(_RAW):
        raise HTTPException(415, f"The body is {_MULTIPART}, {_JSON}, image/* or {_RAW[0]}, not {kind[:100]}.")
    body = await read_body(request, settings)
    if kind == _MULTIPART:
        asked = AskedPictures(await _of_multipart(request, body, settings))
    elif kind == _JSON:
        asked = _of_json(body)
    else:
        asked = AskedPictures((body,))
    if len(asked.pictures) > settings.max_pictures:
        raise HTTPException(413, _too_many(settings, len(asked.pictures)))
    if not asked.pictures or (len(asked.pictures) == 1 and not asked.pictures[0]):
        raise HTTPException(422, "There is no picture in the request.")
    if not settings.allow_urls and any(isinstance(picture, str) for picture in asked.pictures):
        raise HTTPException(403, "This server fetches no URLs (--allow-urls). Send the picture itself.")
    return asked


async def read_body(request: Request, settings: ServingSettings) -> bytes:
    """Returns the body of a request; raises HTTPException 413 or 408 as soon as it is too large or too late."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > settings.max_bytes:
        raise HTTPException(413, _too_large(settings), _HANG_UP)

    async def read() -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > settings.max_bytes:
                raise HTTPException(413, _too_large(settings), _HANG_UP)
        return bytes(body)

    try:
        return await asyncio.wait_for(read(), settings.timeout)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"The body did not arrive within {settings.timeout:g} seconds.", _HANG_UP) from None


async def _of_multipart(request: Request, body: bytes, settings: ServingSettings) -> tuple[bytes, ...]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=settings.max_pictures, max_fields=0)
    parser.spool_max_size = settings.max_bytes  # Never to the disk.
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise HTTPException(413, _too_many(settings)) from None
        raise HTTPException(422, f"The multipart body cannot be used: {error.message} Each part is a file.") from None
    except KeyError:
        raise HTTPException(422, "The content type multipart/form-data lacks its boundary.") from None
    try:
        return tuple([await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)])
    finally:
        await form.close()


def _of_json(body: bytes) -> AskedPictures:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(422, "The body is no JSON.") from None
    pictures = content.get("images") if isinstance(content, dict) else None
    if not isinstance(pictures, list) or not all(isinstance(picture, str) for picture in pictures):
        raise HTTPException(422, 'Expected {"images": [...]}, each picture as base64, as a data: URL or as a URL.')
    topk = content.get("topk")
    if topk is not None and (type(topk) is not int or topk < 1):
        raise HTTPException(422, f"topk must be a whole number of at least 1, not {topk!r:.60}.")
    return AskedPictures(tuple(_picture(text, place) for place, text in enumerate(pictures)), topk)


def _picture(text: str, place: int) -> bytes | str:
    """Returns the content of a picture, or its URL."""
    if text.startswith(("http://", "https://")):
        return text
    if text.startswith("data:"):
        text = text.partition(",")[2]
    elif is_url(text):
        raise HTTPException(422, f"images[{place}]: URLs of http and https are fetched, no others.")
    return decoded(text, f"images[{place}]")


def decoded(text: str, where: str) -> bytes:
    """Returns the bytes of base64, of the usual or the URL alphabet; raises HTTPException 422 that says where."""
    try:
        return base64.b64decode(text.translate(_USUAL_ALPHABET), validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(422, f"{where} is no base64.") from None


# Line ends are left out, as encoders of mails make them.
_USUAL_ALPHABET = str.maketrans({"-": "+", "_": "/", "\n": None, "\r": None})


def contents_of(pictures: Sequence[bytes | str]) -> list[bytes]:
    """Returns pictures that are all here; one that is still a URL is our own mistake."""
    contents = [picture for picture in pictures if isinstance(picture, bytes)]
    assert len(contents) == len(pictures), "a URL was not fetched"
    return contents


def _too_large(settings: ServingSettings) -> str:
    return f"A request may have {settings.max_bytes} bytes at most."


def _too_many(settings: ServingSettings, came: Any = "more") -> str:
    return f"A request may have {settings.max_pictures} pictures at most, but {came} came. Send several requests."
