"""What `beit serve` says on stderr."""

import sys


def tell_address(host: str, port: int) -> None:
    """Says where the server listens, as soon as it does."""
    name = f"[{host}]" if ":" in host else host
    print(
        f"Serving at http://{name}:{port}; what it takes: /docs; whether it is ready: /ready. Ctrl-C ends it.",
        file=sys.stderr,
        flush=True,
    )
