"""The paths of `modelscope server`, for clients that were written for it: POST /call and GET /describe."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from modelscope_beit.serving.request_bodies import decoded, read_body
from modelscope_beit.settings.serving import ServingSettings

Answer = Callable[[Sequence[bytes | str], int | None], Awaitable[tuple[int, dict[str, Any]]]]

# What the host says of the task, and the picture of its example.
_SCHEMA = {
    "task_name": "image-classification",
    "schema": {
        "input": {
            "type": "object",
            "properties": {
                "image": {
                    "type": "string",
                    "description": "Base64 encoded image file or url string.",
                }
            },
        },
        "parameters": {},
        "output": {
            "type": "object",
            "properties": {
                "scores": {"type": "array", "items": {"type": "number"}},
                "labels": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}


def add_host_paths(application: FastAPI, answer: Answer, settings: ServingSettings, guarded: list[Any]) -> None:
    """Adds the paths to an application.

    /call takes {"input": {"image": base64 or URL}, "parameters": {"topk": ...}} and gives {"scores", "labels"}, as the
    host's does; parameters that it does not know are refused.
    """

    @application.post("/call", dependencies=guarded)
    async def call(request: Request) -> dict[str, Any]:
        """Classifies one picture in the words of `modelscope server`."""
        picture, topk = _asked(await read_body(request, settings), settings)
        status, body = await answer([picture], topk)
        if status != 200:
            raise HTTPException(status, body["detail"])
        row: dict[str, Any] = body["predictions"][0]
        return row

    @application.get("/describe", dependencies=guarded)
    async def describe() -> dict[str, Any]:
        """Tells what /call takes and gives, in the words of `modelscope server`."""
        return {"schema": _SCHEMA, "sample": None}


def _asked(body: bytes, settings: ServingSettings) -> tuple[bytes | str, int | None]:
    try:
        content = json.loads(body)
        given, parameters = content["input"], content.get("parameters") or {}
        # The host takes the first value, whatever its name.
        picture = next(iter(given.values())) if isinstance(given, dict) else given
        topk = parameters.get("topk")
        is_known = set(parameters) <= {"topk"} and (topk is None or type(topk) is int and topk >= 1)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, StopIteration):
        picture, topk, is_known = None, None, False
    if not isinstance(picture, str) or not is_known:
        raise HTTPException(422, 'Expected {"input": {"image": base64}, "parameters": {"topk": 5}}.')
    if not picture.startswith(("http://", "https://")):
        return decoded(picture, "input.image"), topk
    if not settings.allow_urls:
        raise HTTPException(403, "This server fetches no URLs (--allow-urls). Send the picture itself.")
    return picture, topk
