"""Runs demo/app.py as `python demo/app.py` does, and writes down each address off this machine that it asks for."""

import runpy
import sys
from pathlib import Path
from typing import Any

LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "", None)


def main() -> None:
    log, app, *arguments = sys.argv[1:]

    def watch(event: str, details: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = details[0]
        elif event == "socket.connect" and isinstance(details[1], tuple):
            host = details[1][0]
        else:
            return
        host = host.decode() if isinstance(host, bytes) else host
        if host not in LOOPBACK:
            with Path(log).open("a") as file:
                file.write(f"{host}\n")

    sys.addaudithook(watch)
    sys.argv = [app, *arguments]
    sys.path.insert(0, str(Path(app).parent))
    runpy.run_path(app, run_name="__main__")


if __name__ == "__main__":
    main()
