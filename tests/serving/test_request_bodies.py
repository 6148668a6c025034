"""Every road of a picture into a request, and every limit, through a real application and by hand."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from modelscope_beit.serving.request_bodies import decoded, read_pictures
from modelscope_beit.settings.serving import ServingSettings


def read(
    body: bytes | Sequence[bytes], kind: str | None = "image/png", *, length: int | None = None, **settings: Any
) -> Any:
    """Returns what is asked by a request that comes in these parts; None in them: nothing more comes."""
    parts = [body] if isinstance(body, bytes) else list(body)
    headers = [] if kind is None else [(b"content-type", kind.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.Event().wait()
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts) or settings.get("timeout", 30) < 1}

    async def run() -> Any:
        return await read_pictures(Request({"type": "http", "headers": headers}, receive), ServingSettings(**settings))

    return asyncio.run(run())


def refusal(*arguments: Any, **keywords: Any) -> HTTPException:
    with pytest.raises(HTTPException) as caught:
        read(*arguments, **keywords)
    return caught.value


def multipart(*files: bytes, field: str = "") -> bytes:
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="a"; filename="f.png"\r\n\r\n' + content + b"\r\n"
        for content in files
    ]
    if field:
        parts.append(f'--xyz\r\nContent-Disposition: form-data; name="b"\r\n\r\n{field}\r\n'.encode())
    return b"".join(parts) + b"--xyz--\r\n"


MULTIPART = "multipart/form-data; boundary=xyz"


def of_json(**content: Any) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/JPEG; q=1", "application/octet-stream", None])
def test_read_pictures__takes_raw_bytes(kind: str | None) -> None:
    assert read([b"pic", b"ture"], kind).pictures == (b"picture",)


def test_read_pictures__takes_what_curl_sends_where_nobody_tells_it() -> None:
    assert read(b"a=b&c", "application/x-www-form-urlencoded").pictures == (b"a=b&c",)


def test_read_pictures__takes_all_files_of_a_form() -> None:
    contents = (b"one", bytes(range(256)) * 8000, b"\r\n--xy\r\n")
    assert read(multipart(*contents), MULTIPART).pictures == contents


def test_read_pictures__takes_base64_and_data_urls() -> None:
    content = bytes(range(250, 256)) * 3
    usual, other = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
    images = [usual, other, usual[:8] + "\r\n" + usual[8:], "data:image/png;base64," + usual]
    asked = read(of_json(images=images, topk=3), "application/json")
    assert asked.pictures == (content,) * 4
    assert asked.topk == 3


def test_read_pictures__keeps_urls_for_the_one_who_fetches() -> None:
    asked = read(of_json(images=["https://a.example/b.png"]), "application/json", allow_urls=True)
    assert asked.pictures == ("https://a.example/b.png",)


def test_read_pictures__refuses_urls_unless_they_are_allowed() -> None:
    assert refusal(of_json(images=["https://a.example/b.png"]), "application/json").status_code == 403


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.example/b", "gopher://a.example"])
def test_read_pictures__refuses_other_schemes_even_then(url: str) -> None:
    assert refusal(of_json(images=[url]), "application/json", allow_urls=True).status_code == 422


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "image/png"),
        (b"{", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[]", "application/json"),
        (of_json(images="abcd"), "application/json"),
        (of_json(images=[]), "application/json"),
        (of_json(images=[""]), "application/json"),
        (of_json(images=[1]), "application/json"),
        (of_json(images=["no base 64!"]), "application/json"),
        (of_json(images=["YWJj"], topk=0), "application/json"),
        (of_json(images=["YWJj"], topk=True), "application/json"),
        (multipart(), MULTIPART),
        (multipart(b"one", field="value"), MULTIPART),
        (b"nothing of a form", MULTIPART),
        (multipart(b"one"), "multipart/form-data"),
    ],
)
def test_read_pictures__refuses_what_it_cannot_understand(body: bytes, kind: str) -> None:
    assert refusal(body, kind).status_code == 422


@pytest.mark.parametrize("kind", ["text/html", "video/mp4", "application/pdf"])
def test_read_pictures__names_the_types_that_it_takes(kind: str) -> None:
    error = refusal(b"x", kind)
    assert error.status_code == 415
    assert "multipart/form-data" in error.detail and kind in error.detail


def test_read_pictures__refuses_a_body_by_its_announced_size_before_it_comes() -> None:
    error = refusal([], "image/png", length=101, max_bytes=100)
    assert error.status_code == 413
    assert "100 bytes" in error.detail


def test_read_pictures__refuses_a_body_that_is_larger_than_announced() -> None:
    assert refusal([b"x" * 60, b"x" * 60, b"x"], "image/png", length=10, max_bytes=100).status_code == 413


def test_read_pictures__refuses_more_pictures_than_a_request_may_have() -> None:
    assert len(read(multipart(b"a", b"b"), MULTIPART, max_pictures=2).pictures) == 2
    assert refusal(multipart(b"a", b"b", b"c"), MULTIPART, max_pictures=2).status_code == 413
    assert refusal(of_json(images=["YWJj"] * 3), "application/json", max_pictures=2).status_code == 413


def test_read_pictures__does_not_wait_for_a_body_that_does_not_come() -> None:
    error = refusal([b"the first bytes"], "image/png", timeout=0.05)
    assert error.status_code == 408
    assert error.headers == {"Connection": "close"}


def test_decoded__says_where_the_base64_was() -> None:
    with pytest.raises(HTTPException, match=r"images\[3\]"):
        decoded("a", "images[3]")
