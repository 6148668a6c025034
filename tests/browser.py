"""A headless Chromium that tests drive over a pipe (the DevTools protocol), so that clicks are a person's clicks."""

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = f"no browser is installed: {', '.join(NAMES)}"
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
# A test picture that moves, and nobody who has to allow it.
_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
_SECONDS = 60.0


class Browser:
    """One page of a browser. `requests` holds the addresses that it asked for, `problems` what its console says."""

    def __init__(self, folder: Path) -> None:
        """folder: an empty one, for the browser's profile and the two pipes."""
        assert PROGRAM is not None, MISSING
        commands, answers = folder / "commands", folder / "answers"
        os.mkfifo(commands)
        os.mkfifo(answers)
        start = ["sh", "-c", 'exec "$@" 3<"$0/commands" 4>"$0/answers"', str(folder), PROGRAM, *_OPTIONS, *_CAMERA]
        self._process = subprocess.Popen([*start, f"--user-data-dir={folder}"], stderr=subprocess.DEVNULL)
        self._commands = commands.open("wb", buffering=0)
        self._answers = answers.open("rb", buffering=0)
        self._unread, self._number, self._session = b"", 0, ""
        self._events: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.problems: list[Any] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, page: Path | str, *, width: int) -> None:
        """Shows a file, or what is at an address, in a window of this many pixels; at most 500 are a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width <= 500
        )
        self._events.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._read())

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression as soon as it is true."""
        end = time.monotonic() + _SECONDS
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)
        return value

    def upload(self, selector: str, *files: Path) -> None:
        """Chooses files for the input that a CSS selector finds."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def click(self, expression: str) -> None:
        """Clicks where the middle of an element is seen."""
        self.evaluate(f"({expression}).scrollIntoView({{block: 'center'}})")
        box = self.evaluate(f"(({expression}).getBoundingClientRect()).toJSON()")
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Returns the answer to a command of the protocol; what happens meanwhile is noted."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        while True:
            message = self._read()
            if message.get("id") == self._number:
                assert "error" not in message, (method, message)
                result: dict[str, Any] = message["result"]
                return result
            self._events.append(message)

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(_SECONDS)
        self._commands.close()
        self._answers.close()

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._unread:
            assert select.select([self._answers], [], [], end - time.monotonic())[0], "the browser does not answer"
            piece = self._answers.read(1 << 20)
            assert piece, "the browser has ended"
            self._unread += piece
        message, self._unread = self._unread.split(b"\0", 1)
        event: dict[str, Any] = json.loads(message)
        what = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        if event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.problems.append(what)
        return event
