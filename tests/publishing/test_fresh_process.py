"""What a program in a new interpreter gets, and what is told of it. Real interpreters."""

import json
import sys
from pathlib import Path

import pytest

from modelscope_beit.publishing import fresh_process
from modelscope_beit.publishing.fresh_process import run_python


def test_run_python__has_no_token_and_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "secret")
    for name in ("SOME_API_KEY", "some_token", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "CLIENT_SECRET"):
        monkeypatch.setenv(name, "secret")
    code = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:], os.getcwd()]))"
    done = run_python(code, "中 文", folder=tmp_path)
    environment, arguments, place = json.loads(done.output)
    assert "secret" not in environment.values()
    assert environment["MODELSCOPE_ENDPOINT"].startswith("http://127.0.0.1")
    assert arguments == ["中 文"] and Path(place).resolve() == tmp_path.resolve()
    assert (done.status, done.errors) == (0, "")


def test_run_python__tells_the_last_lines_of_a_failure(tmp_path: Path) -> None:
    done = run_python("import sys\nfor n in range(99): print(n, file=sys.stderr)\n1 / 0", folder=tmp_path)
    assert done.status == 1
    assert done.errors.endswith("ZeroDivisionError: division by zero")
    assert len(done.errors.splitlines()) == 12


def test_run_python__finds_the_package_from_anywhere(tmp_path: Path) -> None:
    done = run_python("import modelscope_beit; print(modelscope_beit.__file__)", folder=tmp_path)
    assert done.output.strip() == sys.modules["modelscope_beit"].__file__


def test_run_python__ends_a_program_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_process, "_TIME_LIMIT_SECONDS", 1)
    done = run_python("import time; time.sleep(60)", folder=tmp_path)
    assert done.status == -1 and "did not end" in done.errors
