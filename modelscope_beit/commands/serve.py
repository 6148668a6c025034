"""Serve a model over HTTP: pictures in, classes out, several clients' pictures in one pass through the network.

POST /predict takes the bytes of a picture, multipart/form-data with several, or JSON with base64. GET /ready, /health,
/metrics and /docs are for those who watch. POST /call and GET /describe are those of `modelscope server`.
SIGTERM and Ctrl-C end the server when every request that has come is answered.

Examples:
  beit serve embedded
  curl --data-binary @cat.jpg http://127.0.0.1:8000/predict
  beit serve my_model --host 0.0.0.0 --port 80 --workers 4 --token-file token.txt
  beit serve my_model --precision auto --batch-size 16 --allow-urls
  RAY_ADDRESS=head:6379 beit serve my_model --engine ray --workers 16
"""

import argparse
import os
from pathlib import Path

from modelscope_beit.commands.inference_arguments import add_inference_arguments, inference_settings
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.commands.serve_view import tell_address
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.serving import ServingSettings

_USUAL = ServingSettings()
_TOKEN = "BEIT_SERVE_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, where to listen, how to classify, and the limits."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, an exported one, a hub id, or the word embedded")
    add("--host", default=_USUAL.host, help="address to listen at (default: 127.0.0.1, this machine only)")
    add("--port", type=int, default=_USUAL.port, help="default: 8000; 0 takes a free one")
    add("--workers", type=int, default=_USUAL.workers, metavar="N",
        help="processes that classify (default: 1); the threads of torch are shared among them")  # fmt: skip
    add("--engine", choices=("local", "ray"), default="local",
        help="who classifies: processes of this machine (default), or replicas of Ray Serve")  # fmt: skip
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps ... (default: cpu)")
    add_inference_arguments(parser)
    add("--topk", type=int, default=_USUAL.topk, help="classes told where a request does not say (default: 5)")
    add("--batch-size", type=int, default=_USUAL.max_batch, help="most pictures per pass (default: 8)")
    add("--batch-delay", type=float, default=_USUAL.batch_delay, metavar="S",
        help="seconds that an idle worker waits for more pictures (default: 0)")  # fmt: skip
    add("--queue", type=int, default=_USUAL.queue, metavar="N",
        help="pictures that wait and requests that are open, before 503 is answered (default: 256)")  # fmt: skip
    add("--max-bytes", type=int, default=_USUAL.max_bytes, metavar="N", help="of a request (default: 32 MiB)")
    add("--max-pixels", type=int, default=_USUAL.max_pixels, metavar="N", help="of a picture (default: 50 million)")
    add("--max-pictures", type=int, default=_USUAL.max_pictures, metavar="N", help="of a request (default: 32)")
    add("--timeout", type=float, default=_USUAL.timeout, metavar="S", help="seconds until 504 (default: 30)")
    add("--allow-urls", action="store_true", help="fetch pictures that clients name by URL, from public addresses")
    add("--token-file", type=Path, metavar="FILE",
        help=f"clients have to show the bearer token in FILE; or set {_TOKEN}")  # fmt: skip
    add("--trust-remote-code", action="store_true", help="allow a model folder to run code of its own")


def run(arguments: argparse.Namespace) -> int:
    """Serves and returns 0 after a signal. Raises BeitError if the model or an option cannot be used."""
    inference = inference_settings(arguments)
    settings = ServingSettings(
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        topk=arguments.topk,
        max_batch=arguments.batch_size,
        batch_delay=arguments.batch_delay,
        queue=arguments.queue,
        max_bytes=arguments.max_bytes,
        max_pixels=arguments.max_pixels,
        max_pictures=min(arguments.max_pictures, arguments.queue),
        timeout=arguments.timeout,
        allow_urls=arguments.allow_urls,
        token=_token(arguments.token_file),
    )
    folder = local_path(arguments.model)

    # Deferred: it asks for the packages of the extra.
    from modelscope_beit.serving.serve import serve
    from modelscope_beit.serving.served_model import ServedModel

    model = ServedModel(folder, inference, arguments.device, arguments.fast_decode, arguments.trust_remote_code)
    serve(model, settings, on_listening=tell_address, on_ray=arguments.engine == "ray")
    return 0


def _token(file: Path | None) -> str | None:
    """Returns the token: never from the command line, which every user of a machine can read."""
    if file is None:
        return os.environ.get(_TOKEN)
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"--token-file {file} must be a text file with the token: {error}") from error
