"""The server that serving.py measures `beit serve` beside: serving_naive.py MODEL PORT.

FastAPI as its tutorial has it: one forward pass for each request, in the threads that FastAPI keeps for that. Pictures
are read, prepared and classified by the functions of `beit serve`: what differs is the server.
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.serving.classifying_batches import BatchClassifier


def make_application(model: str) -> FastAPI:
    """Returns the application, with the model opened and warmed up."""
    classify = BatchClassifier(open_model(find_model_folder(model)), max_pixels=50_000_000)
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

    return application


if __name__ == "__main__":
    uvicorn.run(make_application(sys.argv[1]), port=int(sys.argv[2]), log_level="warning", access_log=False)
