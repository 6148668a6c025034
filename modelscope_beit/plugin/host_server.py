"""Lets `modelscope server` start, and take a local folder. Seen in ModelScope 1.40.

FastAPI has lost add_event_handler with Starlette 1.0, which is how the host starts its pipeline; and the host asks
the hub for the configuration of any model_id, be it a folder that is here.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from modelscope_beit.plugin.after_import import after_import

_SERVER_MODULE = "modelscope.server.api_server"
_PIPELINE_MODULE = "modelscope.utils.input_output"


def mend_server() -> None:
    """Mends the host's server as soon as it is imported; neither it nor FastAPI is imported now."""
    after_import(_SERVER_MODULE, _start_by_lifespan)
    after_import(_PIPELINE_MODULE, _take_folders)


def _start_by_lifespan(server: ModuleType) -> None:
    """Gives FastAPI's application what it has lost, where it has: handlers that run at its start and its end."""
    get_app = server.get_app

    def get_mended_app(args: Any) -> Any:
        # An extra of the host's.
        import fastapi

        if hasattr(fastapi.FastAPI, "add_event_handler"):
            return get_app(args)
        handlers: dict[str, list[Callable[[], None]]] = {"startup": [], "shutdown": []}

        @asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            for handler in handlers["startup"]:
                handler()
            yield
            for handler in handlers["shutdown"]:
                handler()

        class WithEvents(fastapi.FastAPI):
            def __init__(self, **keywords: Any) -> None:
                super().__init__(lifespan=lifespan, **keywords)

            def add_event_handler(self, event: str, handler: Callable[[], None]) -> None:
                handlers[event].append(handler)

        stock, fastapi.FastAPI = fastapi.FastAPI, WithEvents  # type: ignore[misc]
        try:
            return get_app(args)
        finally:
            fastapi.FastAPI = stock  # type: ignore[misc]

    vars(server)["get_app"] = get_mended_app


def _take_folders(input_output: ModuleType) -> None:
    """Lets the host's server make a pipeline of a folder, with which it asks nobody for a revision."""
    create_pipeline = input_output.create_pipeline

    def create_from_folder(model_id: str, revision: str, external_engine_for_llm: bool = True) -> Any:
        if not Path(model_id).is_dir():
            return create_pipeline(model_id, revision, external_engine_for_llm)
        settings = input_output.Config.from_file(str(Path(model_id) / input_output.ModelFile.CONFIGURATION))
        return input_output.pipeline(task=settings.task, model=model_id)

    vars(input_output)["create_pipeline"] = create_from_folder
