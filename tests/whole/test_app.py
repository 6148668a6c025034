"""demo/app.py in a browser, as visitors use it: answers, languages, broken pictures, two of them at once."""

import base64
import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

import browser
import helpers
from browser import Browser
from modelscope_beit.__main__ import main
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.model_folder.finding import find_model_folder

pytest.importorskip("gradio", reason="the app needs the extra demo")
pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason=browser.MISSING)

FOLDER = find_model_folder()
BOOT, SHIRT, BAG = (FOLDER / "pictures" / f"{name}.png" for name in ("ankle_boot_00000", "shirt_00004", "bag_00018"))
ONE, TWO = "#beit-one input[type=file]", "#beit-two input[type=file]"
BARS = "[...document.querySelectorAll('.beit-bars li')].map(row => row.innerText.trim().split(/\\s*\\n\\s*/))"
BEST = "document.querySelector('.beit-best')?.innerText"
LOOKED = "document.querySelector('.beit-looked img')"
LANGUAGES = "[...document.querySelectorAll('#beit-language input')]"


@pytest.fixture(scope="module")
def picky_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, calibrated as nobody would: every picture is of none of its classes."""
    folder = tmp_path_factory.mktemp("models") / "picky"
    shutil.copytree(FOLDER, folder)
    file = folder / "configuration.json"
    confidence = {
        "temperature": 2.0,
        "unknown_below": 1e6,
        "false_alarm_rate": 0.5,
        "pictures": 20,
        "data": "none",
        "weights": file_digest(folder / "model.safetensors"),
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | {"confidence": confidence}))
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the app's requests to other machines are written down."""
    return tmp_path_factory.mktemp("asked") / "hosts"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, picky_folder: Path, asked: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("app")
    environment = os.environ | {
        "PYTHONPATH": str(helpers.ROOT),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "MODELSCOPE_CACHE": str(folder / "cache"),
    }
    script = [str(helpers.ROOT / name) for name in ("tests/offline_app.py", "demo/app.py")]
    command = [sys.executable, script[0], str(asked), script[1], "embedded", str(picky_folder)]
    app = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_for_app(app, url)
        yield url
    finally:
        app.terminate()
        app.wait(30)


def wait_for_app(app: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + 180
    while True:
        try:
            urlopen(url, timeout=30).close()
            return
        except OSError:
            assert app.poll() is None, app.communicate()[0].decode()
            assert time.monotonic() < end, "the app does not answer"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("visitor"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def neighbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("neighbour"))
    yield opened
    opened.close()


def enter(visitor: Browser, address: str, *, width: int = 1200) -> None:
    visitor.open(address, width=width)
    visitor.wait_for(f"!!document.querySelector('{ONE}')")


def ask(visitor: Browser, *pictures: Path, selector: str = ONE) -> None:
    visitor.wait_for(f"!!document.querySelector('{selector}')")
    visitor.upload(selector, *pictures)


def choose_tab(visitor: Browser, number: int) -> None:
    visitor.click(f"[...document.querySelectorAll('button[role=tab]')][{number}]")


def predicted(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What `beit predict` says of one picture."""
    assert main(["predict", *arguments, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def as_bars(answer: dict[str, Any]) -> list[list[str]]:
    return [[label, f"{100 * score:.1f} %"] for label, score in zip(answer["labels"], answer["scores"], strict=True)]


def test_app__says_what_beit_predict_says(visitor: Browser, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    enter(visitor, address)
    for precision, number in (("fp32", 0), ("int8", 2)):
        if number:
            visitor.click(f"[...document.querySelectorAll('input[type=radio][value={precision}]')][0]")
            visitor.wait_for(f"document.querySelector('.beit-facts').innerText.includes('{precision}')")
        else:
            ask(visitor, BOOT)
            visitor.wait_for(BEST)
        wanted = predicted(capsys, "embedded", str(BOOT), "--precision", precision)
        assert visitor.evaluate(BARS) == as_bars(wanted)
        assert visitor.evaluate(BEST).startswith("Ankle boot")
        facts = visitor.evaluate("document.querySelector('.beit-facts').innerText")
        assert float(facts.split(" ms")[0]) > 0 and facts.endswith(f"embedded · {precision}")
    assert visitor.wait_for(f"{LOOKED}?.complete && {LOOKED}.naturalWidth") == 448
    assert "speaks for “Ankle boot”" in visitor.evaluate("document.body.innerText")


def test_app__speaks_chinese_where_one_asks_for_it(visitor: Browser, address: str) -> None:
    enter(visitor, address)
    ask(visitor, SHIRT)
    bars = visitor.wait_for(f"{BARS}.length && {BARS}")
    visitor.click(f"{LANGUAGES}[1]")
    visitor.wait_for("document.querySelector('h1').innerText == '图片里是什么？'")
    visitor.wait_for("document.querySelector('.beit-facts').innerText.includes('读取、预处理和分类共')")
    assert visitor.evaluate(BARS) == bars
    text = visitor.evaluate("document.body.innerText")
    for word in ("One picture", "Model", "Precision", "Or take", "to read, prepare"):
        assert word not in text
    for word in ("单张图片", "模型", "精度", "示例"):
        assert word in text
    visitor.click(f"{LANGUAGES}[0]")
    visitor.wait_for("document.querySelector('h1').innerText == 'What is in the picture?'")
    visitor.wait_for("document.querySelector('.beit-facts').innerText.includes('to read, prepare and classify')")


def test_app__starts_in_the_language_of_the_browser(neighbour: Browser, address: str) -> None:
    neighbour.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    enter(neighbour, address)
    neighbour.wait_for("document.querySelector('h1').innerText == '图片里是什么？'")
    neighbour.call("Network.setExtraHTTPHeaders", headers={})


def test_app__survives_a_broken_picture(visitor: Browser, address: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(BOOT.read_bytes()[:200])
    enter(visitor, address)
    ask(visitor, broken)
    said = visitor.wait_for("document.querySelector('.beit-problem')?.innerText")
    assert said.startswith("This picture could not be classified") and "truncated" in said
    assert str(tmp_path) not in said and "Traceback" not in said
    visitor.click("document.querySelector('#beit-one button[aria-label=\"Remove Image\"]')")
    visitor.wait_for("!!document.querySelector('.beit-waiting')")
    ask(visitor, BAG)
    assert visitor.wait_for(BEST).startswith("Bag")


def test_app__answers_two_visitors_at_once(visitor: Browser, neighbour: Browser, address: str) -> None:
    names = {BOOT: "Ankle boot", BAG: "Bag"}
    for order in ((BOOT, BAG), (BAG, BOOT), (BOOT, BAG)):
        asked = list(zip((visitor, neighbour), order, strict=True))
        for one, _ in asked:
            enter(one, address)
        for one, picture in asked:
            ask(one, picture)
        for one, picture in asked:
            assert one.wait_for(BEST).startswith(names[picture])
            one.wait_for(f"document.body.innerText.includes('speaks for “{names[picture]}”')")
    visitor.click(f"{LANGUAGES}[1]")
    visitor.wait_for("document.querySelector('h1').innerText == '图片里是什么？'")
    assert neighbour.evaluate("document.querySelector('h1').innerText") == "What is in the picture?"


def press(visitor: Browser, button: str) -> None:
    """A click on a button of the picture's frame, wherever the page has moved it meanwhile."""
    visitor.wait_for(f"(button => button && (button.click(), true))(document.querySelector('#beit-one {button}'))")


def test_app__takes_a_picture_from_examples_and_the_clipboard(visitor: Browser, address: str) -> None:
    enter(visitor, address)
    visitor.wait_for("document.querySelectorAll('.gallery-item img').length >= 10")
    visitor.evaluate("document.querySelectorAll('.gallery-item')[9].click()")
    assert visitor.wait_for(BEST).startswith("Trouser")
    press(visitor, 'button[aria-label="Remove Image"]')
    visitor.wait_for("!!document.querySelector('.beit-waiting')")
    visitor.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    data = f"data:image/png;base64,{base64.b64encode(BAG.read_bytes()).decode()}"
    copy = f"fetch('{data}').then(file => file.blob()).then(file => navigator.clipboard.write("
    visitor.evaluate(f"{copy}[new ClipboardItem({{'image/png': file}})])).then(() => window.isCopied = true); 0")
    visitor.wait_for("window.isCopied")
    press(visitor, 'button[aria-label="Paste from clipboard"]')
    assert visitor.wait_for(BEST).startswith("Bag")


def test_app__takes_a_picture_with_the_camera(visitor: Browser, address: str) -> None:
    enter(visitor, address)
    press(visitor, 'button[aria-label="Capture from camera"]')
    press(visitor, 'button[style="height: 100%;"]:not(.upload-container)')
    visitor.wait_for("document.querySelector('#beit-one video')?.videoWidth")
    press(visitor, 'button[aria-label="capture photo"]')
    assert "%" in visitor.wait_for(BEST)


def test_app__classifies_many_and_gives_the_table(visitor: Browser, address: str, tmp_path: Path) -> None:
    named = tmp_path / "a <b>bold & 中文.png"
    shutil.copy(SHIRT, named)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    enter(visitor, address)
    choose_tab(visitor, 1)
    ask(visitor, BOOT, broken, named, selector="#beit-many input[type=file]")
    visitor.wait_for("document.querySelectorAll('#beit-many .file-preview tr.file').length == 3")
    visitor.click("document.querySelector('#beit-all')")
    link = visitor.wait_for("document.querySelector('.beit-download')?.href")
    assert main(["predict", "embedded", str(BOOT), str(broken), str(named), "--out", str(tmp_path / "out.csv")]) == 3
    wanted = list(csv.reader(io.StringIO((tmp_path / "out.csv").read_text())))
    found = list(csv.reader(io.StringIO(base64.b64decode(link.split(",")[1]).decode("utf-8-sig"))))
    assert [row[1:] for row in found] == [row[1:] for row in wanted]
    assert [row[0] for row in found] == ["source", *(path.name for path in (BOOT, broken, named))]
    visitor.wait_for("document.querySelector('#beit-table').innerText.includes('a <b>bold & 中文.png')")
    assert "2 of 3 pictures classified" in visitor.evaluate("document.body.innerText")
    visitor.click(f"{LANGUAGES}[1]")
    visitor.wait_for("document.body.innerText.includes('3 张图片中有 2 张完成分类')")
    visitor.wait_for("document.querySelector('#beit-table').innerText.includes('第二可能')")


def test_app__shows_two_models_and_what_is_unknown(
    visitor: Browser, address: str, picky_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(visitor, address)
    choose_tab(visitor, 2)
    ask(visitor, SHIRT, selector=TWO)
    visitor.wait_for("document.querySelector('.beit-verdict')?.innerText == 'They differ: “Shirt” and “Unknown”.'")
    panels = visitor.evaluate("[...document.querySelectorAll('.beit-answer')].map(panel => panel.innerText)")
    wanted = predicted(capsys, str(picky_folder), str(SHIRT))
    assert wanted["unknown"] and "none of the classes" in panels[-1]
    for label, share in as_bars(wanted):
        assert f"{label}\n{share}" in panels[-1]


@pytest.mark.parametrize("dark", [False, True])
def test_app__fits_a_phone_and_follows_its_colors(visitor: Browser, address: str, dark: bool) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    visitor.call("Emulation.setEmulatedMedia", media="screen", features=[scheme])
    enter(visitor, address, width=400)
    ask(visitor, BOOT)
    visitor.wait_for(f"{BEST} && {LOOKED}?.complete")
    assert visitor.evaluate("document.documentElement.scrollWidth") <= 400
    shade = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
    assert (visitor.evaluate(shade) < 60) is dark


def test_app__asks_no_other_machine(visitor: Browser, address: str, asked: Path) -> None:
    """Neither the page, in all that the tests above did, nor the program behind it."""
    hosts = {urlsplit(request).hostname for request in visitor.requests if not request.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert not asked.exists(), asked.read_text()
