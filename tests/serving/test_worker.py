"""A worker at the end of a real socket, with a real network."""

import os
import socket
import threading
from pathlib import Path

from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.serving.classifying_batches import BatchClassifier
from modelscope_beit.serving.frames import packed, receive
from modelscope_beit.serving.worker import work


def test_work__says_what_it_serves_and_answers_until_the_connection_closes(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    classifier = BatchClassifier(open_model(tiny_model_folder), max_pixels=10**6)
    ours, theirs = socket.socketpair()
    worker = threading.Thread(target=work, args=(theirs, lambda: classifier), kwargs={"warm_up_batch": 2})
    worker.start()
    with ours, ours.makefile("rb") as stream:
        assert receive(stream) == ({"pid": os.getpid(), **classifier.about}, [])
        for count in (3, 1):
            contents = [path.read_bytes() for path in ten_images[:count]]
            ours.sendall(b"".join(packed({"topk": 2}, contents)))
            message = receive(stream)
            assert message is not None
            rows = message[0]["rows"]
            assert [tuple(row["labels"]) for row in rows] == [row["labels"] for row in classifier(contents, 2)]
            assert message[0]["seconds"] > 0
        ours.shutdown(socket.SHUT_WR)
        worker.join(10)
        assert not worker.is_alive()
    theirs.close()


def test_work__tells_why_the_model_cannot_be_opened() -> None:
    def fail() -> BatchClassifier:
        raise SettingsError("no such device")

    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as stream:
        work(theirs, fail, warm_up_batch=1)
        assert receive(stream) == ({"error": "no such device"}, [])
