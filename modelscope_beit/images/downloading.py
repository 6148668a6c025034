"""URL -> bytes, bounded in time and size. Standard library only."""

import re
import time
import urllib.request
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote

from modelscope_beit.errors import ImageError

# Seconds that a whole download may take, and bytes that it may bring.
DOWNLOAD_SECONDS = 30.0
DOWNLOAD_BYTES = 256 * 2**20

_CHUNK_BYTES = 2**16
# At least two letters, so that C:// is a path.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://|(data):", re.IGNORECASE)
_SCHEMES = ("http", "https", "file", "data")
# Everything that may stand in a URL as it is, "%" included, so that what is quoted already stays so.
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


def is_url(text: str) -> bool:
    """Says whether a text is a URL of any scheme rather than a path."""
    return _SCHEME.match(text) is not None


def download(url: str) -> bytes:
    """Returns what a URL holds: http, https, file or data.

    Raises ImageError that names the URL if the scheme is another one, if the server answers with an error or not at
    all, if the whole takes longer than DOWNLOAD_SECONDS, or if it is more than DOWNLOAD_BYTES.
    """
    match = _SCHEME.match(url)
    scheme = (match[1] or match[2]).lower() if match else ""
    if scheme not in _SCHEMES:
        raise ImageError(
            f"{shortened(url)}: URLs of {', '.join(_SCHEMES)} can be read, not of {scheme or 'no scheme'}."
        )
    try:
        return _read(url)
    except ImageError:
        raise
    except HTTPError as error:
        error.close()
        raise ImageError(f"{shortened(url)}: the server answered {error.code} {error.reason}.") from error
    # OSError: no such host or file, refused, timed out; ValueError: not a URL, or data that is not base64.
    except (OSError, HTTPException, ValueError) as error:
        raise ImageError(f"{shortened(url)}: the download failed: {error}.") from error


def shortened(text: str) -> str:
    """Returns a text as it is quoted in a message: at most 200 characters."""
    return text if len(text) <= 200 else text[:197] + "..."


def _read(url: str) -> bytes:
    # Some servers refuse clients that do not give a name.
    request = urllib.request.Request(quote(url, safe=_URL_CHARACTERS), headers={"User-Agent": "modelscope-beit"})
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    content = bytearray()
    with urllib.request.urlopen(request, timeout=DOWNLOAD_SECONDS) as answer:
        # read1 gives what has arrived, so that a server that sends a byte now and then meets the deadline too.
        read = getattr(answer, "read1", answer.read)
        while chunk := read(_CHUNK_BYTES):
            content += chunk
            if len(content) > DOWNLOAD_BYTES:
                raise ImageError(f"{shortened(url)}: at most {DOWNLOAD_BYTES} bytes are expected, but more came.")
            if time.monotonic() > deadline:
                raise ImageError(
                    f"{shortened(url)}: only {len(content)} bytes came within {DOWNLOAD_SECONDS:g} seconds."
                )
        expected = answer.headers.get("Content-Length")
    if expected is not None and expected.isdigit() and int(expected) > len(content):
        raise ImageError(f"{shortened(url)}: {expected} bytes were announced, but only {len(content)} came.")
    return bytes(content)
