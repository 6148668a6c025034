"""A ModelScope hub on the loopback device, written from what modelscope_hub 0.5.1 asks and how it reads the answers.

It keeps repositories in memory, and fails where a test says so.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "ms-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
PRIVATE, PUBLIC = 1, 5
_PIECE_BYTES = 1 << 16


@dataclass
class Fault:
    """What goes wrong at requests whose "METHOD /path" matches, `times` times.

    status: of the answer; None: the connection is cut after `cut_after` bytes of the body were read, or, if that is
    None too, nothing is answered for `stall_seconds`.
    """

    request: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "because the test says so"
    cut_after: int | None = None
    stall_seconds: float = 0.0
    times: int = 1


@dataclass
class Repository:
    visibility: int
    license: str
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"master": {}})
    tags: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What the hub holds and what it was asked. requests: "METHOD /path", in order. received: blob -> bytes got."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    received: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    address: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)

    def asked(self, pattern: str) -> int:
        """Returns how many requests match."""
        return sum(re.search(pattern, request) is not None for request in self.requests)


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: Hub
    token = TOKEN

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        request = f"{method} {url.path}"
        self.hub.requests.append(request)
        self.hub.times.append(time.monotonic())
        fault = next((one for one in self.hub.faults if one.times > 0 and re.search(one.request, request)), None)
        if fault is not None:
            fault.times -= 1
            if self._fail(fault):
                return
        body = self._body(url.path)
        if body is None:
            return
        if url.path.startswith("/lfs/"):
            # The address is the permission: a store of blobs is another host, which need not know tokens.
            digest = hashlib.sha256(body).hexdigest()
            self.hub.blobs[digest] = body
            right = url.path == f"/lfs/{digest}"
            self._send(200 if right else 422, {"Code": 200 if right else 422})
            return
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            # Careless servers repeat what they were sent.
            sent = self.headers.get("Authorization", "nothing")
            self._send(401, {"Code": 401, "Message": f"nobody is known by {sent}", "Success": False})
            return
        try:
            status, content = self.route(method, url.path, parse_qs(url.query), body)
        except Exception as error:  # noqa: BLE001 - A test then fails with these words.
            status, content = 422, {"Message": f"the test's own hub cannot answer: {error!r}"}
        self._send(status, content)

    def _body(self, path: str) -> bytes | None:
        """Reads the body; None if the client went away in the middle."""
        left, pieces = int(self.headers.get("Content-Length") or 0), []
        while left:
            piece = self.rfile.read1(min(left, _PIECE_BYTES))
            if not piece:
                self.close_connection = True
                return None
            pieces.append(piece)
            left -= len(piece)
            if path.startswith("/lfs/"):
                self.hub.received[path] = self.hub.received.get(path, 0) + len(piece)
        return b"".join(pieces)

    def _fail(self, fault: Fault) -> bool:
        """Fails as told; False: only slowly, the right answer follows."""
        if fault.cut_after is not None:
            self.rfile.read(fault.cut_after)
            self.close_connection = True
            self.connection.close()
            return True
        if fault.status is None:
            self.hub.stalled.set()
            time.sleep(fault.stall_seconds)
            return False
        self._body("")
        self._send(fault.status, {"Code": fault.status, "Message": fault.message, "Success": False}, fault.headers)
        return True

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def route(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Returns status and content of the answer."""
        hub = self.hub
        if (method, path) == ("POST", "/api/v1/models"):
            return self._create(json.loads(body))
        found = re.fullmatch(r"/(?:openapi/v1|api/v1(?:/repos)?)/models/([^/]+/[^/]+)(/.*)?", path)
        assert found, f"nobody asks for {method} {path}"
        identity, rest = found.group(1), found.group(2) or ""
        if identity not in hub.repositories:
            return 404, {"Code": 10010205001, "Message": "模型不存在", "Success": False}
        repository = hub.repositories[identity]
        if (method, rest) == ("GET", ""):
            private = repository.visibility == PRIVATE
            data = {"id": identity, "private": private} if "openapi" in path else {"Visibility": repository.visibility}
            return 200, {"Data": data, "data": data, "Success": True}
        if (method, rest) == ("GET", "/repo/files"):
            return self._files(repository, query["Revision"][0])
        if (method, rest) == ("GET", "/revisions"):
            kinds = {"Branches": repository.branches, "Tags": repository.tags}
            return 200, {"Data": {"RevisionMap": {k: [{"Revision": one} for one in v] for k, v in kinds.items()}}}
        content = json.loads(body)
        if (method, rest) == ("POST", "/info/lfs/objects/batch"):
            return 200, {"Data": {"objects": [self._wanted(one) for one in content["objects"]]}}
        if (method, rest) == ("POST", "/repo/tag"):
            if content["TagName"] in repository.tags:
                return 400, {"Code": 10010205008, "Message": "tag already exists", "Success": False}
            repository.tags[content["TagName"]] = dict(repository.branches[content["Ref"]])
            return 200, {"Data": {}, "Success": True}
        assert method == "POST" and rest.startswith("/commit/"), f"nobody asks for {method} {path}"
        branch = repository.branches.setdefault(rest.removeprefix("/commit/"), {})
        for action in content["actions"]:
            assert action["action"] == "create"
            large = action["type"] == "lfs"
            branch[action["path"]] = hub.blobs[action["sha256"]] if large else base64.b64decode(action["content"])
        repository.messages.append(content["commit_message"])
        return 200, {"Data": {"CommitId": "c0ffee"}, "Success": True}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        identity = f"{asked['Path']}/{asked['Name']}"
        if identity in self.hub.repositories:
            return 400, {"Code": 10010101001, "Message": "该名称已被注册使用，请重新命名", "Success": False}
        self.hub.repositories[identity] = Repository(asked["Visibility"], asked["License"])
        return 200, {"Data": {"Path": asked["Path"], "Name": asked["Name"]}, "Success": True}

    def _files(self, repository: Repository, revision: str) -> tuple[int, Any]:
        if revision not in repository.branches:
            return 404, {"Code": 10010205001, "Message": "the revision does not exist", "Success": False}
        rows = [
            {"Path": path, "Type": "blob", "Size": len(content), "Sha256": hashlib.sha256(content).hexdigest()}
            for path, content in repository.branches[revision].items()
        ]
        return 200, {"Data": {"Files": rows}, "Success": True}

    def _wanted(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.hub.blobs:
            return one
        return {**one, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}}


@contextmanager
def running_hub(handler: type[_Answering] = _Answering) -> Iterator[Hub]:
    """Gives a hub that answers at hub.address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (handler,), {"hub": hub}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # Clients go away: that is what is tested.
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
