"""/call and /describe against the router of the real `modelscope server`, with the same folder behind both."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from modelscope.pipelines import pipeline
from modelscope.server.api.routers.router import api_router
from modelscope.utils.constant import Tasks
from modelscope.utils.input_output import get_task_schemas
from starlette.testclient import TestClient

from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.serving.application import make_application
from modelscope_beit.serving.classifying_batches import BatchClassifier
from modelscope_beit.serving.measures import Measures
from modelscope_beit.settings.serving import ServingSettings
from serving_engines import StubEngine


class Classifying(StubEngine):
    """Answers in the test's own process."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._classify = BatchClassifier(open_model(folder), max_pixels=10**7)

    async def answer(self, contents: Any, topk: int) -> list[dict[str, Any]]:
        return self._classify(contents, topk)


@pytest.fixture
def ours(tiny_model_folder: Path) -> Iterator[TestClient]:
    application, _ = make_application(Classifying(tiny_model_folder), ServingSettings(), Measures())
    with TestClient(application) as client:
        yield client


@pytest.fixture
def theirs(tiny_model_folder: Path) -> TestClient:
    """The host's own paths, set up as its start does, which needs FastAPI of before 0.116."""
    application = FastAPI()
    application.include_router(api_router)
    classify = pipeline(Tasks.image_classification, model=str(tiny_model_folder))
    application.state.pipeline = classify
    schema = get_task_schemas(classify.group_key)
    application.state.pipeline_info = {"task_name": classify.group_key, "schema": schema}
    application.state.pipeline_sample = None
    return TestClient(application)


def body(path: Path, **parameters: Any) -> dict[str, Any]:
    encoded = base64.b64encode(path.read_bytes()).decode()
    return {"input": {"image": encoded}} | ({"parameters": parameters} if parameters else {})


@pytest.mark.parametrize("parameters", [{}, {"topk": 2}])
def test_call__answers_as_the_host_does(
    ours: TestClient, theirs: TestClient, ten_images: list[Path], parameters: dict[str, int]
) -> None:
    for path in ten_images[:3]:
        answer = ours.post("/call", json=body(path, **parameters)).json()
        expected = theirs.post("/call", json=body(path, **parameters)).json()
        assert set(answer) == set(expected) == {"scores", "labels"}
        assert answer["labels"] == expected["labels"]
        np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-6)


def test_describe_and_health__say_what_the_host_does(ours: TestClient, theirs: TestClient) -> None:
    assert ours.get("/describe").json() == theirs.get("/describe").json()
    assert ours.get("/health").json() == theirs.get("/health").json()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"input": {}}', 422),
        (b'{"input": {"image": 5}}', 422),
        (b'{"input": {"image": "%%"}}', 422),
        (b'{"input": {"image": "YWJj"}, "parameters": {"topk": "many"}}', 422),
        (b'{"input": {"image": "YWJj"}, "parameters": {"colour": 1}}', 422),
        (b'{"input": {"image": "YWJj"}, "parameters": ["topk"]}', 422),
        (b'{"input": {"image": "YWJj"}}', 422),
        (b'{"input": {"image": "http://127.0.0.1/"}}', 403),
        (json.dumps({"input": {"image": "A" * 2**26}}).encode(), 413),
    ],
)
def test_call__refuses_what_it_cannot_use(ours: TestClient, content: bytes, status: int) -> None:
    assert ours.post("/call", content=content).status_code == status
