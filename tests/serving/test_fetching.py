"""Fetching against real servers on loopback: what is refused, that nobody was connected to, and every limit."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from modelscope_beit.errors import ImageError
from modelscope_beit.serving.fetching import Fetcher, is_public

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answers: dict[str, Answer], host: str = "127.0.0.1") -> Iterator[tuple[int, list[str]]]:
    """Gives the port of a server that answers paths, and the list of what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802, the name is the library's
            asked.append(self.path)
            answers[self.path](self)

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer((host, 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield listening.server_address[1], asked
    finally:
        listening.shutdown()
        listening.server_close()


def content(data: bytes, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def redirect(to: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def fetch(url: str, *, allow: str | None = None, most_bytes: int = 1000, seconds: float = 5.0) -> bytes:
    """Fetches; allow: the one address that is taken for public, so that a test has one."""
    keywords = {} if allow is None else {"is_allowed": lambda address: str(address) == allow}

    async def run() -> bytes:
        fetcher = Fetcher(most_bytes=most_bytes, seconds=seconds, **keywords)
        try:
            return await fetcher(url)
        finally:
            await fetcher.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "169.254.0.1", "100.100.100.200", "100.64.0.1", "168.63.129.16", "192.0.0.192",
        "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1",
        "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fec0::1", "feff::1", "3fff::1",
    ],
)  # fmt: skip
def test_is_public__refuses_every_address_that_is_somebodys_own(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "172.32.0.1"])
def test_is_public__lets_the_internet_through(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f.1", "[::ffff:7f00:1]"]
)
def test_fetcher__connects_to_no_address_of_this_machine_however_it_is_written(host: str) -> None:
    with server({"/": content(b"secret")}) as (port, asked):
        with pytest.raises(ImageError) as caught:
            fetch(f"http://{host}:{port}/")
    assert asked == []
    assert "secret" not in str(caught.value)


def test_fetcher__refuses_a_name_that_means_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = named(monkeypatch, {"pictures.example": ["127.0.0.1"]})
    with server({"/": content(b"secret")}) as (port, asked):
        with pytest.raises(ImageError, match="public addresses"):
            fetch(f"http://pictures.example:{port}/")
    assert asked == [] and looked_up == ["pictures.example"]


def test_fetcher__refuses_a_name_with_one_private_address_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, {"pictures.example": ["8.8.8.8", "10.0.0.1"]})
    with pytest.raises(ImageError, match="public addresses"):
        fetch("http://pictures.example/")


def test_fetcher__looks_a_name_up_once_and_connects_to_what_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    # A second look-up would mean another machine.
    looked_up = named(monkeypatch, {"pictures.example": ["127.0.0.1"]}, then=["127.0.0.3"])
    with server({"/a": content(b"picture")}) as (port, _):
        assert fetch(f"http://pictures.example:{port}/a", allow="127.0.0.1") == b"picture"
    assert looked_up == ["pictures.example"]


def test_fetcher__follows_a_redirect_but_not_to_a_forbidden_address() -> None:
    with server({"/inside": content(b"secret")}, "127.0.0.3") as (inner_port, asked_inside):
        answers = {
            "/here": content(b"picture"),
            "/relative": redirect("/here"),
            "/inwards": redirect(f"http://127.0.0.3:{inner_port}/inside"),
            "/file": redirect("file:///etc/passwd"),
            "/round": redirect("/round"),
        }
        with server(answers, "127.0.0.2") as (port, asked):
            outside = f"http://127.0.0.2:{port}"
            assert fetch(f"{outside}/relative", allow="127.0.0.2") == b"picture"
            with pytest.raises(ImageError, match="public addresses"):
                fetch(f"{outside}/inwards", allow="127.0.0.2")
            with pytest.raises(ImageError, match="no URL of http"):
                fetch(f"{outside}/file", allow="127.0.0.2")
            with pytest.raises(ImageError, match="more than 5 times"):
                fetch(f"{outside}/round", allow="127.0.0.2")
    assert asked_inside == []
    assert asked.count("/round") == 6


def test_fetcher__stops_at_its_limits() -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return
            threading.Event().wait(0.02)

    answers = {
        "/large": content(b"x" * 1001),
        "/just": content(b"x" * 1000),
        "/slow": trickle,
        "/none": content(b"", 404),
    }
    with server(answers) as (port, _):
        here = f"http://127.0.0.1:{port}"
        assert len(fetch(f"{here}/just", allow="127.0.0.1")) == 1000
        for path, why in (("/large", "more than 1000 bytes"), ("/none", "answered 404")):
            with pytest.raises(ImageError, match=why):
                fetch(here + path, allow="127.0.0.1")
        with pytest.raises(ImageError, match="within 0.3 seconds"):
            fetch(f"{here}/slow", allow="127.0.0.1", seconds=0.3)


@pytest.mark.parametrize(
    "url",
    ["http://", "http://a.example:99999/", "http://[::1/", "http://a\u00e4.example/",
     "http://" + "a" * 300 + ".example/", "http://a.example:port/", "https://a b/", "http://a.example/\r\nX: y"],
)  # fmt: skip
def test_fetcher__has_one_kind_of_error_for_whatever_is_no_url(url: str) -> None:
    with pytest.raises(ImageError):
        fetch(url)


def named(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], then: list[str] | None = None) -> list[str]:
    """Gives names addresses; `then`: those of every later look-up. Returns the list of what was looked up."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *arguments: Any, **keywords: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in names:
            return real(host, port, *arguments, **keywords)
        addresses = then if then is not None and name in looked_up else names[name]
        looked_up.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return looked_up
