"""What an error of either client means, how long it is waited, and what a person is told."""

import logging
import traceback
from collections.abc import Callable

import httpx
import pytest
import requests
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from modelscope_hub.errors import HubError, NetworkError, RateLimitError, ServerError, StorageError, raise_for_status

from modelscope_beit.errors import PublishingError, SettingsError
from modelscope_beit.publishing import refusals
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.refusals import Signs, explained, refusal_of, with_patience

TOKEN = "ms-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
TO = Destination("modelscope", "me/pets")
SIGNS = Signs("ModelScope", "MODELSCOPE_API_TOKEN", "https://hub/tokens", "modelscope login")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(refusals.time, "sleep", seconds.append)
    return seconds


def of_modelscope(status: int, headers: dict[str, str] | None = None) -> HubError:
    """Returns what the client itself makes of an answer."""
    response = requests.Response()
    response.status_code, response._content = status, b'{"Message": "no"}'
    response.headers.update(headers or {})
    with pytest.raises(HubError) as caught:
        raise_for_status(response)
    return caught.value


def of_hugging_face(status: int, headers: dict[str, str] | None = None) -> HfHubHTTPError:
    response = httpx.Response(status, headers=headers, request=httpx.Request("POST", "https://hub/x"))
    return HfHubHTTPError("no", response=response)


@pytest.mark.parametrize("make", [of_modelscope, of_hugging_face])
def test_refusal_of__an_answer(make: Callable[..., Exception]) -> None:
    for status, may_pass in ((401, False), (403, False), (404, False), (409, False), (429, True), (500, True)):
        refusal = refusal_of(make(status))
        assert (refusal.status, refusal.may_pass, refusal.words) == (status, may_pass, "no")
    assert refusal_of(make(429, {"Retry-After": "7"})).retry_after == 7
    assert refusal_of(make(429)).retry_after is None
    assert refusal_of(make(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})).retry_after is None


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (NetworkError("cut"), True),
        (ServerError("asked in vain"), True),
        (httpx.ConnectError("cut"), True),
        (TimeoutError("late"), True),
        (OfflineModeIsEnabled("set HF_HUB_OFFLINE=0"), False),
        (FileNotFoundError("weights"), False),
        # What the client says at the end of an upload in which a file could not be read, for instance.
        (StorageError("1 file(s) failed to upload"), False),
    ],
)
def test_refusal_of__no_answer(error: Exception, may_pass: bool) -> None:
    refusal = refusal_of(error)
    assert (refusal.status, refusal.may_pass) == (None, may_pass)


def test_refusal_of__looks_at_what_an_error_was_raised_from() -> None:
    try:
        raise RuntimeError("Error while uploading") from of_hugging_face(403)
    except RuntimeError as error:
        assert refusal_of(error).status == 403


def test_with_patience__waits_as_told_or_twice_as_long_each_time(
    waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[object] = [RateLimitError("slow", retry_after=7), ServerError("no", status_code=503), "done"]

    def ask() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with caplog.at_level(logging.WARNING):
        assert with_patience(ask, doing="Asking") == "done"
    assert waits == [7, 2]
    assert "Asking: the hub answered 503; asking again in 2 s (3 of 5)." in caplog.text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServerError("no", status_code=500), [1, 2, 4, 8]),
        (RateLimitError("slow", retry_after=3600), []),
        (of_modelscope(403), []),
        (KeyError("our own mistake"), []),
    ],
)
def test_with_patience__has_an_end(waits: list[float], error: Exception, expected: list[float]) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(type(error)):
        with_patience(ask, doing="Asking")
    assert waits == expected


def test_explained__tells_what_to_do_and_never_the_token() -> None:
    with pytest.raises(PublishingError) as caught:
        with explained(TO, "creating it", signs=SIGNS, token=TOKEN, kinds=(HubError,)):
            raise ServerError(f"sent was {TOKEN}", status_code=401)
    assert str(caught.value).startswith("modelscope:me/pets: creating it failed: the hub answered 401 (sent was ***). ")
    assert "https://hub/tokens and set MODELSCOPE_API_TOKEN" in str(caught.value)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_explained__leaves_other_errors_alone() -> None:
    for error in (SettingsError("ours"), KeyError("a mistake of ours")):
        with pytest.raises(type(error)):
            with explained(TO, "creating it", signs=SIGNS, token=TOKEN, kinds=(HubError, RuntimeError)):
                raise error


def test_explained__does_not_blame_the_hub_for_a_file_that_is_gone() -> None:
    with pytest.raises(PublishingError, match="it stopped on this machine .*weights"):
        with explained(TO, "sending files", signs=SIGNS, token=TOKEN, kinds=(OSError,)):
            raise FileNotFoundError("weights")
