"""LitServe as a peer of serving.py: serving_litserve.py MODEL PORT. As many workers as processors, of one thread each.

Pictures are read, prepared and classified by the functions of `beit serve`: what differs is the server.
"""

import base64
import os
import sys
from typing import Any

import litserve
import torch

from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.serving.classifying_batches import BatchClassifier

MAX_BATCH = 8


class Classifier(litserve.LitAPI):
    """Takes {"image": base64}; LitServe spawns its workers, which find the class here."""

    def setup(self, device: str) -> None:
        """Opens the model in a worker."""
        torch.set_num_threads(1)
        self.classify = BatchClassifier(open_model(find_model_folder(sys.argv[1])), max_pixels=50_000_000)
        self.classify.warm_up(MAX_BATCH)

    def decode_request(self, request: dict[str, str]) -> bytes:
        """Returns the bytes of a picture."""
        return base64.b64decode(request["image"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Returns the pictures of a batch as they are."""
        return inputs

    def predict(self, contents: list[bytes]) -> list[dict[str, Any]]:
        """Returns a row for each picture."""
        return self.classify(contents, 5)

    def unbatch(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the rows as they are."""
        return rows

    def encode_response(self, row: dict[str, Any]) -> dict[str, Any]:
        """Returns what `beit serve` answers."""
        return {"predictions": [row]}


if __name__ == "__main__":
    server = litserve.LitServer(
        Classifier(max_batch_size=MAX_BATCH, batch_timeout=0.001),
        accelerator="cpu",
        workers_per_device=os.cpu_count() or 1,
        timeout=60,
        healthcheck_path="/ready",
    )
    server.run(port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False, log_level="warning")
