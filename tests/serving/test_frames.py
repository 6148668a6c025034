"""Messages over a real pair of sockets."""

import asyncio
import socket

import pytest

from modelscope_beit.serving.frames import packed, receive, receive_header, send


def test_receive__gives_header_and_blobs_of_each_message() -> None:
    ours, theirs = socket.socketpair()
    blobs = [b"", bytes(range(256)) * 100, b"\n"]
    with ours, theirs, theirs.makefile("rb") as stream:
        ours.sendall(b"".join(packed({"topk": 3}, blobs)))
        ours.sendall(b"".join(packed({"name": "中文"})))
        assert receive(stream) == ({"topk": 3}, blobs)
        assert receive(stream) == ({"name": "中文"}, [])
        ours.close()
        assert receive(stream) is None


@pytest.mark.parametrize("cut", [1, 4, 10, -1])
def test_receive__gives_nothing_of_a_message_that_is_cut(cut: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs, theirs.makefile("rb") as stream:
        ours.sendall(b"".join(packed({"topk": 3}, [b"picture"]))[:cut])
        ours.close()
        assert receive(stream) is None


def test_receive_header__waits_for_all_of_it_and_tells_of_an_end() -> None:
    async def check() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)
        rows = [{"labels": ["x" * 1000]}] * 500
        thread = asyncio.create_task(asyncio.to_thread(send, ours, {"rows": rows}))
        assert await receive_header(reader) == {"rows": rows}
        await thread
        ours.close()
        with pytest.raises(asyncio.IncompleteReadError):
            await receive_header(reader)
        writer.close()

    asyncio.run(check())
