"""A Hugging Face hub on the loopback device, written from what huggingface_hub 1.33 asks without xet."""

import base64
import hashlib
import json
import re
from typing import Any

from hub_server import PRIVATE, PUBLIC, Repository, _Answering

HF_TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


class HuggingFaceAnswering(_Answering):
    """Answers as that hub does; with the state and the faults of the other one."""

    token = HF_TOKEN

    def route(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Returns status and content of the answer."""
        hub = self.hub
        if path == "/api/repos/create":
            asked = json.loads(body)
            identity = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            branches: dict[str, dict[str, bytes]] = {"main": {".gitattributes": b"*.pt filter=lfs"}}
            hub.repositories[identity] = Repository(
                PRIVATE if asked["visibility"] == "private" else PUBLIC, "", branches
            )
            return 200, {"url": f"{hub.address}/{identity}", "name": identity}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            return 200, {"transfer": "basic", "objects": [self._wanted(one) for one in json.loads(body)["objects"]]}
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w+))?(?:/([^/]+))?", path)
        assert found, f"nobody asks for {method} {path}"
        identity, verb, revision = found.groups()
        if identity not in hub.repositories:
            return 404, {"error": "Repository not found"}
        repository = hub.repositories[identity]
        if method == "GET" and verb in (None, "revision"):
            return self._info(identity, repository, revision or "main")
        if (method, verb) == ("GET", "refs"):
            tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": "c0ffee"} for tag in repository.tags]
            return 200, {"branches": [], "tags": tags, "converts": []}
        assert method == "POST", f"nobody asks for {method} {path}"
        if verb == "branch":
            repository.branches.setdefault(revision, dict(repository.branches["main"]))
            return 200, {}
        if verb == "preupload":
            files = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            rows = [{"path": one["path"], "uploadMode": modes[one["size"] > 1000]} for one in files]
            return 200, {"files": [{**row, "shouldIgnore": False, "oid": None} for row in rows]}
        if verb == "tag":
            repository.tags[json.loads(body)["tag"]] = dict(repository.branches[revision])
            return 200, {}
        assert verb == "commit", f"nobody asks for {method} {path}"
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                repository.branches[revision][value["path"]] = base64.b64decode(value["content"])
            else:
                repository.branches[revision][value["path"]] = hub.blobs[value["oid"]]
        return 200, {"commitUrl": f"{hub.address}/{identity}/commit/c0ffee", "commitOid": "c0ffee"}

    def _info(self, identity: str, repository: Repository, revision: str) -> tuple[int, Any]:
        siblings = []
        for path, content in repository.branches.get(revision, {}).items():
            git_id = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            row: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git_id}
            if len(content) > 1000:
                row |= {"blobId": "of the pointer", "lfs": {"sha256": hashlib.sha256(content).hexdigest()}}
                row["lfs"] |= {"size": len(content), "pointerSize": 130}
            siblings.append(row)
        private = repository.visibility == PRIVATE
        return 200, {"id": identity, "private": private, "sha": "c0ffee", "siblings": siblings, "tags": []}

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        if content == {"error": "Repository not found"}:
            headers = {"X-Error-Code": "RepoNotFound"}
        super()._send(status, content, headers)
