"""Messages between the server and its workers: a JSON header and blobs of bytes. No pickles: what comes from a process
that decodes strangers' pictures is never run. Standard library only.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">I")
_SIZES = "sizes"


def packed(header: dict[str, Any], blobs: Sequence[bytes] = ()) -> list[bytes]:
    """Returns the parts of a message, to be sent one after another."""
    text = json.dumps({**header, _SIZES: [len(blob) for blob in blobs]}).encode()
    return [_LENGTH.pack(len(text)), text, *blobs]


def send(connection: socket.socket, header: dict[str, Any]) -> None:
    """Sends a header; raises OSError if the other end has gone."""
    connection.sendall(b"".join(packed(header)))


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]] | None:
    """Returns the next header and its blobs; None where the other end has closed, be it in the middle of a message."""
    start = stream.read(_LENGTH.size)
    if len(start) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(start)
    text = stream.read(length)
    if len(text) < length:
        return None
    header = json.loads(text)
    sizes = header.pop(_SIZES)
    blobs = [stream.read(size) for size in sizes]
    return (header, blobs) if [len(blob) for blob in blobs] == sizes else None


async def receive_header(stream: asyncio.StreamReader) -> dict[str, Any]:
    """Returns the next header, of a message without blobs; raises IncompleteReadError if the other end closes."""
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    header: dict[str, Any] = json.loads(await stream.readexactly(length))
    assert header.pop(_SIZES) == [], "an answer has no blobs"
    return header
