"""The hub, answered by a loop-back server or by nobody."""

import http.server
import importlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelscope_hub.config import HubConfig, set_default_config

from modelscope_beit.errors import ModelFolderError
from modelscope_beit.plugin.hub import download_model, hub_answers

HOST = importlib.import_module("modelscope.hub.snapshot_download")


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield
    set_default_config(None)


def address_is(port: int) -> None:
    set_default_config(HubConfig(endpoint=f"http://127.0.0.1:{port}"))


@pytest.fixture(params=[200, 404, 503])
def server(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server that gives one status to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:  # noqa: N802 - the name that http.server calls
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving.server_port
    serving.shutdown()


def test_hub_answers__to_any_answer(server: int) -> None:
    address_is(server)
    assert hub_answers(5.0)


def test_hub_answers__not_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address_is(taken.getsockname()[1])
        begun = time.monotonic()
        assert not hub_answers(5.0)
        assert time.monotonic() - begun < 4


def test_hub_answers__in_time_even_if_the_hub_hangs() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address_is(silent.getsockname()[1])
        begun = time.monotonic()
        assert not hub_answers(0.3)
        assert time.monotonic() - begun < 2


def test_hub_answers__in_time_even_if_the_resolver_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def resolve(*arguments: object, **keywords: object) -> None:
        asked.set()
        time.sleep(3)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    begun = time.monotonic()
    assert not hub_answers(0.3)
    assert asked.is_set()
    assert time.monotonic() - begun < 2


def test_download_model__gives_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(HOST, "snapshot_download", lambda *a, **k: asked.append((a, k)) or str(tmp_path))
    assert download_model("owner/name", revision="v1.0.2") == tmp_path
    assert asked == [(("owner/name",), {"revision": "v1.0.2"})]


def test_download_model__says_what_was_tried_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(HOST, "snapshot_download", refuse)
    address_is(9)
    with pytest.raises(ModelFolderError) as caught:
        download_model("owner/name", revision="v2")
    for part in ("owner/name", "v2", "http://127.0.0.1:9", "Network is unreachable", "--local_dir"):
        assert part in str(caught.value)
