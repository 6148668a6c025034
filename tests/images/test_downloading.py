import base64
import http.server
import threading
import time

import pytest

from modelscope_beit.errors import ImageError
from modelscope_beit.images import downloading
from modelscope_beit.images.downloading import download, is_url

CONTENT = bytes(range(256)) * 64


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/picture%20one.jpg")
            self.end_headers()
        elif self.path == "/to-a-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        elif self.path == "/silent":
            time.sleep(2)
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(CONTENT)
        elif self.path in ("/picture%20one.jpg", "/%E5%9B%BE.jpg") and "modelscope" in self.headers["User-Agent"]:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)
        else:
            self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("path", ["/picture%20one.jpg", "/picture one.jpg", "/图.jpg", "/moved"])
def test_download__http(server, path):
    assert download(server + path) == CONTENT


def test_download__missing_page(server):
    with pytest.raises(ImageError, match=rf"^{server}/nothing.jpg: the server answered 404 Not Found"):
        download(server + "/nothing.jpg")


@pytest.mark.parametrize("path", ["/slow", "/silent"])
def test_download__slow_server(server, path, monkeypatch):
    monkeypatch.setattr(downloading, "DOWNLOAD_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"0\.3 seconds|timed out"):
        download(server + path)
    assert time.monotonic() - start < 1.5


def test_download__too_much(server, monkeypatch):
    monkeypatch.setattr(downloading, "DOWNLOAD_BYTES", 1000)
    with pytest.raises(ImageError, match="at most 1000 bytes"):
        download(server + "/moved")


def test_download__connection_cut(server):
    with pytest.raises(ImageError, match=r"/short: .*(only 16384 came|IncompleteRead)"):
        download(server + "/short")


def test_download__no_way_from_the_web_to_local_files(server):
    with pytest.raises(ImageError, match="/to-a-file"):
        download(server + "/to-a-file")


def test_download__nobody_listens():
    with pytest.raises(ImageError, match=r"^http://127\.0\.0\.1:9/x\.jpg: the download failed"):
        download("http://127.0.0.1:9/x.jpg")


def test_download__file_url(tmp_path):
    file = tmp_path / "a picture.jpg"
    file.write_bytes(CONTENT)
    assert download(file.as_uri()) == CONTENT
    with pytest.raises(ImageError, match="No such file"):
        download((tmp_path / "none.jpg").as_uri())


def test_download__data_url():
    assert download("data:image/png;base64," + base64.b64encode(CONTENT).decode()) == CONTENT
    assert download("DATA:text/plain,a%20b") == b"a b"
    with pytest.raises(ImageError, match=r"^data:x{192}\.\.\.: the download failed"):
        download("data:" + "x" * 10_000)


@pytest.mark.parametrize("url", ["ftp://host/a.jpg", "oss://bucket/a.jpg"])
def test_download__other_schemes(url):
    with pytest.raises(ImageError, match=rf"{url}: URLs of http, https, file, data can be read, not of {url[:3]}"):
        download(url)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "https://host:port/"])
def test_download__broken_urls(url):
    with pytest.raises(ImageError, match="the download failed"):
        download(url)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://host/a.jpg", True),
        ("HTTP://host/a.jpg", True),
        ("data:image/png;base64,AAAA", True),
        ("oss://bucket/a.jpg", True),
        ("a.jpg", False),
        ("/a/http.jpg", False),
        ("C:\\pictures\\a.jpg", False),
        ("C://pictures/a.jpg", False),
        ("", False),
    ],
)
def test_is_url(text, expected):
    assert is_url(text) is expected
