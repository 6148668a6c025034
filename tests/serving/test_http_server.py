"""Listening, and the server's own failure; how it drains is in test_processes.py, with real signals."""

import socket

import pytest

from modelscope_beit.errors import BeitError, SettingsError
from modelscope_beit.serving.http_server import listen, serve_http
from modelscope_beit.settings.serving import ServingSettings
from serving_engines import StubEngine


def test_listen__takes_a_free_port() -> None:
    with listen(ServingSettings(port=0)) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert listening.getsockname()[1] > 0


def test_listen__sends_each_part_of_an_answer_at_once() -> None:
    with listen(ServingSettings(port=0)) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_listen__takes_an_address_of_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    with listen(ServingSettings(host="::1", port=0)) as listening:
        assert listening.family == socket.AF_INET6


@pytest.mark.parametrize("host", ["127.0.0.1", "999.0.0.1"])
def test_listen__tells_what_it_cannot_have(host: str) -> None:
    with listen(ServingSettings(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen at {host}, port {port}"):
            listen(ServingSettings(host=host, port=port))


def test_serve_http__ends_when_its_engine_says_that_it_never_will() -> None:
    engine = StubEngine()
    engine.is_ready, engine.failure = False, BeitError("there is no such model")
    with pytest.raises(BeitError, match="no such model"):
        serve_http(listen(ServingSettings(port=0)), lambda _: engine, ServingSettings())
    assert engine.life == ["start", "stop"]


def test_serve_http__ends_when_it_is_alone() -> None:
    engine = StubEngine()
    serve_http(listen(ServingSettings(port=0)), lambda _: engine, ServingSettings(), is_alone=lambda: True)
    assert engine.life == ["start", "stop"]
