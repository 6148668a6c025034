"""Engines without a network, for tests of what is around them."""

import asyncio
from collections.abc import Sequence
from typing import Any

from modelscope_beit.errors import BeitError
from modelscope_beit.serving.waiting_pictures import QueueFullError


class StubEngine:
    """Tells the length of each content; b"bad" is no picture, b"slow" never comes, b"full" finds no room."""

    def __init__(self) -> None:
        self.about: dict[str, Any] = {"model": "sha256:0", "version": "0", "classes": 3}
        self.failure: BeitError | None = None
        self.is_ready = True
        self.asked: list[tuple[list[bytes], int]] = []
        self.life: list[str] = []

    def start(self) -> None:
        self.life.append("start")

    async def stop(self) -> None:
        self.life.append("stop")

    async def answer(self, contents: Sequence[bytes], topk: int) -> list[dict[str, Any]]:
        self.asked.append((list(contents), topk))
        if b"full" in contents:
            raise QueueFullError
        if b"slow" in contents:
            await asyncio.Event().wait()
        return [self.row(content, topk) for content in contents]

    @staticmethod
    def row(content: bytes, topk: int) -> dict[str, Any]:
        if content == b"bad":
            return {"labels": [], "scores": [], "error": "no picture"}
        if content == b"deadly":
            return {"labels": [], "scores": [], "error": "workers ended", "status": 500}
        return {"labels": [str(len(content)), "b", "c"][:topk], "scores": [0.7, 0.2, 0.1][:topk]}
