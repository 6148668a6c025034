"""The HTTP side in front of an engine without a network: shapes, status codes, the token, OpenAPI."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from modelscope_beit.errors import ImageError
from modelscope_beit.serving.application import make_application
from modelscope_beit.serving.measures import Measures
from modelscope_beit.settings.serving import ServingSettings
from serving_engines import StubEngine


@contextmanager
def client_of(engine: StubEngine | None = None, fetch: Any = None, **settings: Any) -> Iterator[TestClient]:
    engine = engine or StubEngine()
    application, _ = make_application(engine, ServingSettings(**settings), Measures(), fetch=fetch)
    with TestClient(application) as client:
        yield client


def encoded(*contents: bytes) -> dict[str, Any]:
    return {"images": [base64.b64encode(content).decode() for content in contents]}


def test_predict__answers_raw_bytes_with_the_model_and_the_version() -> None:
    with client_of() as client:
        answer = client.post("/predict", content=b"four", headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 200
    assert answer.json() == {
        "predictions": [{"labels": ["4", "b", "c"], "scores": [0.7, 0.2, 0.1]}],
        "model": "sha256:0",
        "version": "0",
    }


def test_predict__answers_several_files_in_their_order() -> None:
    files = [("images", (f"{size}.jpg", b"x" * size)) for size in (3, 1, 2)]
    with client_of() as client:
        answer = client.post("/predict?topk=1", files=files).json()
    assert [row["labels"] for row in answer["predictions"]] == [["3"], ["1"], ["2"]]


def test_predict__gives_a_bad_picture_an_error_row_and_answers_the_others() -> None:
    with client_of() as client:
        answer = client.post("/predict", json=encoded(b"good", b"bad", b"better"))
    assert answer.status_code == 200
    first, second, third = answer.json()["predictions"]
    assert (first["labels"][0], third["labels"][0]) == ("4", "6")
    assert second == {"labels": [], "scores": [], "error": "no picture"}


@pytest.mark.parametrize(("content", "status"), [(b"bad", 422), (b"deadly", 500)])
def test_predict__has_the_status_of_the_error_where_no_picture_could_be_answered(content: bytes, status: int) -> None:
    with client_of() as client:
        answer = client.post("/predict", content=content)
    assert answer.status_code == status
    assert answer.json()["detail"] == answer.json()["predictions"][0]["error"]


@pytest.mark.parametrize(
    ("settings", "topk", "body_topk", "asked"),
    [({}, None, None, 5), ({"topk": 2}, None, None, 2), ({}, 3, None, 3), ({}, None, 4, 4), ({}, 3, 4, 3)],
)
def test_predict__takes_topk_from_the_address_the_body_or_the_settings(
    settings: dict[str, int], topk: int | None, body_topk: int | None, asked: int
) -> None:
    engine = StubEngine()
    body = encoded(b"one") | ({} if body_topk is None else {"topk": body_topk})
    with client_of(engine, **settings) as client:
        client.post("/predict", json=body, params={} if topk is None else {"topk": topk})
    assert engine.asked == [([b"one"], asked)]


def test_predict__refuses_a_topk_of_nothing() -> None:
    with client_of() as client:
        assert client.post("/predict?topk=0", content=b"one").status_code == 422


def test_predict__says_when_to_come_back_if_too_much_waits_or_nobody_is_ready() -> None:
    engine = StubEngine()
    with client_of(engine) as client:
        full = client.post("/predict", content=b"full")
        engine.is_ready = False
        while_replaced = client.post("/predict", content=b"one")
        engine.about = {}
        early = client.post("/predict", content=b"one")
    assert while_replaced.status_code == 200
    for answer in (full, early):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1


def test_predict__gives_up_after_the_time_that_there_is() -> None:
    with client_of(timeout=0.1) as client:
        answer = client.post("/predict", content=b"slow")
    assert answer.status_code == 504
    assert "0.1 seconds" in answer.json()["detail"]


def test_predict__fetches_urls_beside_pictures_and_keeps_the_order() -> None:
    async def fetch(url: str) -> bytes:
        if "gone" in url:
            raise ImageError(f"{url}: the server answered 404.")
        return url.encode()

    images = ["http://a.example/1", *encoded(b"mine")["images"], "http://a.example/gone"]
    with client_of(fetch=fetch, allow_urls=True) as client:
        answer = client.post("/predict", json={"images": images})
    labels = [row["labels"][:1] for row in answer.json()["predictions"]]
    assert labels == [[str(len("http://a.example/1"))], ["4"], []]
    assert "answered 404" in answer.json()["predictions"][2]["error"]


def test_predict__tells_that_a_url_has_half_a_character() -> None:
    body = b'{"images": ["http://\\ud800.example/"]}'
    with client_of(allow_urls=True) as client:
        answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "http://\\ud800.example/: is no URL that can be fetched."


@pytest.mark.parametrize("shown", [None, "Bearer wrong", "Bearer secreu", "Basic secret", "Bearer sécret", "secret"])
def test_token__is_asked_for_where_pictures_and_figures_are(shown: str | None) -> None:
    headers = {} if shown is None else {"Authorization": shown.encode("latin-1")}
    with client_of(token="secret") as client:
        for method, path in (("POST", "/predict"), ("POST", "/call"), ("GET", "/metrics"), ("GET", "/describe")):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "secret" not in answer.text


def test_token__lets_its_owner_in_and_everybody_see_health() -> None:
    with client_of(token="secret") as client:
        answer = client.post("/predict", content=b"four", headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 200
        assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_ready__tells_of_the_model_once_there_is_one() -> None:
    engine = StubEngine()
    engine.is_ready = False
    with client_of(engine) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        engine.is_ready = True
        assert client.get("/ready").json() == engine.about


def test_metrics__count_what_was_asked() -> None:
    with client_of() as client:
        client.post("/predict", content=b"four")
        client.post("/predict", content=b"bad")
        client.get("/admin.php")
        text = client.get("/metrics").text
    assert 'beit_requests_total{code="200",path="/predict"} 1.0' in text
    assert 'beit_requests_total{code="422",path="/predict"} 1.0' in text
    # A stranger's paths make no series of their own.
    assert 'beit_requests_total{code="404",path="other"} 1.0' in text
    assert 'beit_request_seconds_count{path="/predict"} 2.0' in text


def test_openapi__describes_every_way_to_send_a_picture_and_every_status() -> None:
    with client_of() as client:
        document = client.get("/openapi.json").json()
    operation = document["paths"]["/predict"]["post"]
    assert set(operation["requestBody"]["content"]) >= {"multipart/form-data", "application/json", "image/*"}
    assert set(operation["responses"]) == {*"200 401 403 408 413 415 422 500 503 504".split()}
    assert operation["security"] == [{"HTTPBearer": []}]
    reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    answer = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert set(answer["required"]) == {"predictions", "model", "version"}
    json.dumps(document)


def test_application__starts_and_stops_its_engine() -> None:
    engine = StubEngine()
    with client_of(engine):
        assert engine.life == ["start"]
    assert engine.life == ["start", "stop"]
