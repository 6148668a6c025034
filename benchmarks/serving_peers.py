"""Servers that serving.py measures `beit serve` beside: serving_peers.py naive|litserve MODEL PORT.

naive: FastAPI as its tutorial has it, one forward pass for each request, in the threads that FastAPI keeps for that.
litserve: LitServe's own workers and batches. Both read, prepare and classify pictures by the same functions as
`beit serve`: what differs is the server.
"""

import base64
import os
import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.serving.classifying_batches import BatchClassifier

MAX_BATCH = 8
MAX_PIXELS = 50_000_000


def serve_naively(model: Path, port: int) -> None:
    """Serves with one forward pass per request."""
    classify = BatchClassifier(open_model(model), max_pixels=MAX_PIXELS)
    classify.warm_up(1)
    application = FastAPI()

    @application.get("/ready")
    async def ready() -> dict[str, Any]:
        return {}

    @application.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        content = await request.body()
        (row,) = await run_in_threadpool(classify, [content], 5)
        return {"predictions": [row]}

    uvicorn.run(application, port=port, log_level="warning", access_log=False)


def serve_by_litserve(model: Path, port: int) -> None:
    """Serves by LitServe: as many workers as processors, of one thread each, and batches of what waits."""
    # Not one of the package's extras.
    import litserve

    class Classifier(litserve.LitAPI):
        def setup(self, device: str) -> None:
            torch.set_num_threads(1)
            self.classify = BatchClassifier(open_model(model), max_pixels=MAX_PIXELS)
            self.classify.warm_up(MAX_BATCH)

        def decode_request(self, request: dict[str, str]) -> bytes:
            return base64.b64decode(request["image"])

        def batch(self, inputs: list[bytes]) -> list[bytes]:
            return inputs

        def predict(self, contents: list[bytes]) -> list[dict[str, Any]]:
            return self.classify(contents, 5)

        def unbatch(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return rows

        def encode_response(self, row: dict[str, Any]) -> dict[str, Any]:
            return {"predictions": [row]}

    server = litserve.LitServer(
        Classifier(max_batch_size=MAX_BATCH, batch_timeout=0.001),
        accelerator="cpu",
        workers_per_device=os.cpu_count() or 1,
        timeout=60,
        healthcheck_path="/ready",
    )
    server.run(port=port, host="127.0.0.1", generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    {"naive": serve_naively, "litserve": serve_by_litserve}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
