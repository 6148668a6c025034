import pickle

import pytest

from modelscope_beit import errors

KINDS = [
    errors.SettingsError,
    errors.ImageError,
    errors.CheckpointError,
    errors.ModelFolderError,
    errors.ExportError,
    errors.UntrustedCodeError,
    errors.MissingPackageError,
]


@pytest.mark.parametrize("kind", KINDS)
def test_kind__is_made_from_one_string_as_the_hosts_builder_does(kind: type[errors.BeitError]) -> None:
    original = kind("a message")
    again = type(original)(f"SomeClass: {original}")
    assert str(again) == "SomeClass: a message"
    assert isinstance(again, errors.BeitError)


@pytest.mark.parametrize("kind", KINDS)
def test_kind__travels_between_processes(kind: type[errors.BeitError]) -> None:
    again = pickle.loads(pickle.dumps(kind("a message")))
    assert type(again) is kind and str(again) == "a message"


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.SettingsError, ValueError),
        (errors.ImageError, ValueError),
        (errors.CheckpointError, ValueError),
        (errors.UntrustedCodeError, RuntimeError),
        (errors.MissingPackageError, ImportError),
    ],
)
def test_kind__is_caught_by_who_expects_pythons_own(kind: type[errors.BeitError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_require__returns_the_module() -> None:
    assert errors.require("json.decoder", extra="x", purpose="y").JSONDecoder is not None


def test_require__names_package_purpose_reason_and_command() -> None:
    with pytest.raises(errors.MissingPackageError) as caught:
        errors.require("surely_not_installed", extra="onnx", purpose="to write ONNX files")
    message = str(caught.value)
    for part in (
        "surely_not_installed",
        "to write ONNX files",
        "No module named",
        'pip install "modelscope-beit[onnx]"',
    ):
        assert part in message
    assert isinstance(caught.value.__cause__, ImportError)


def test_require__passes_on_what_is_no_missing_package(tmp_path, monkeypatch) -> None:
    """A package that is there and broken in another way must not be reported as missing."""
    (tmp_path / "broken_package.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        errors.require("broken_package", extra="x", purpose="y")
