"""A server whose workers need no network: stub_server.py SETTINGS, as JSON. They answer with the text of a picture.

b"slow ..." takes a tenth of a second; what `prepare` makes is shared: its first bytes are in each row.
"""

import json
import os
import sys
import time

from modelscope_beit.serving.frames import receive, send
from modelscope_beit.serving.processes import serve_with_processes
from modelscope_beit.settings.serving import ServingSettings


def prepare():  # type: ignore[no-untyped-def]
    if settings.topk == 77:
        raise ValueError("prepared in vain")
    shared = bytearray(os.urandom(2**16)) * 512  # 32 MiB

    def work(connection):  # type: ignore[no-untyped-def]
        send(connection, {"pid": os.getpid(), "model": "sha256:0", "version": "0", "shared": shared[:4].hex()})
        with connection.makefile("rb") as stream:
            while (message := receive(stream)) is not None:
                rows = []
                for content in message[1]:
                    time.sleep(0.1 if content.startswith(b"slow") else 0)
                    rows.append(
                        {"labels": [content.decode(), shared[:4].hex()], "scores": [float(sum(shared[::4096])), 0]}
                    )
                send(connection, {"rows": rows, "seconds": 0.0})

    return work


if __name__ == "__main__":
    settings = ServingSettings(**json.loads(sys.argv[1]))
    serve_with_processes(
        settings, prepare, lambda host, port: print(f"http://{host}:{port}; ", file=sys.stderr, flush=True)
    )
