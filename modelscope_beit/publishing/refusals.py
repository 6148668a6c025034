"""What a hub's refusal means, when asking again helps, and what else a person can do about it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from modelscope_hub.errors import ServerError

from modelscope_beit.errors import BeitError, PublishingError
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.secrecy import masked

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_ATTEMPTS = 5
# A hub that asks for a longer wait is better asked again by hand.
LONGEST_WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Refusal:
    """status: of HTTP; None: no answer came. retry_after: seconds that the hub asks to wait."""

    status: int | None
    words: str
    retry_after: float | None
    may_pass: bool


@dataclass(frozen=True)
class Signs:
    """Where a person of one hub makes tokens and logs in; how messages name it."""

    hub: str
    token_variable: str
    token_page: str
    login: str


def refusal_of(error: BaseException) -> Refusal:
    """Returns what an error of a hub's client says; it, or one that it was raised from, may hold the hub's answer."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__
    for link in links:
        response = getattr(link, "response", None)
        status = getattr(link, "status_code", None) or getattr(response, "status_code", None)
        if status is not None:
            seconds = getattr(link, "retry_after", None) or _retry_after(response)
            return Refusal(status, _words(link), seconds, may_pass=status == 429 or status >= 500)
    if any(isinstance(link, OfflineModeIsEnabled) for link in links):
        return Refusal(None, _words(links[-1]), None, may_pass=False)
    # HTTPError: of what huggingface_hub speaks HTTP with, here without an answer.
    no_answer = any(isinstance(link, ConnectionError | TimeoutError | HTTPError) for link in links)
    # An answer 5xx that the client's own transport had asked for again in vain.
    has_no_status = any(isinstance(link, ServerError) for link in links)
    return Refusal(None, _words(links[-1]), None, may_pass=no_answer or has_no_status)


def with_patience(ask: Callable[[], T], *, doing: str) -> T:
    """Returns the answer; asks again, up to five times, after 429, 5xx and answers that did not come.

    Waits as long as the hub says (Retry-After), otherwise 1, 2, 4, 8 seconds.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return ask()
        except Exception as error:
            refusal = refusal_of(error)
            seconds = float(2**attempt) if refusal.retry_after is None else refusal.retry_after
            if not refusal.may_pass or attempt == _ATTEMPTS - 1 or seconds > LONGEST_WAIT_SECONDS:
                raise
            _logger.warning(
                "%s: %s; asking again in %g s (%d of %d).",
                doing,
                _came(refusal),
                seconds,
                attempt + 2,
                _ATTEMPTS,
            )
            time.sleep(seconds)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def explained(
    destination: Destination, doing: str, *, signs: Signs, token: str, kinds: tuple[type[Exception], ...]
) -> Iterator[None]:
    """Turns an error of a hub's client into a PublishingError that says what to do; the token is not in it.

    doing: what was on its way, as "creating the repository". kinds: what the client raises.
    """
    try:
        yield
    except BeitError:
        raise
    except kinds as error:
        refusal = refusal_of(error)
        told = (
            f"{destination}: {doing} failed: {_came(refusal)} ({refusal.words}). {_advice(refusal, destination, signs)}"
        )
        # From nothing: the client's error may quote the token, and a traceback would show it.
        raise PublishingError(masked(told, token)) from None


def _advice(refusal: Refusal, destination: Destination, signs: Signs) -> str:
    namespace = destination.repo_id.partition("/")[0]
    match refusal.status:
        case 401:
            return (
                f"{signs.hub} does not accept the token: it has expired or belongs to another site. Make one at "
                f"{signs.token_page} and set {signs.token_variable}, or log in again with `{signs.login}`."
            )
        case 403:
            return (
                f"The token is known, but may not write there. Check that {namespace} is your user name or an "
                f"organisation that you may write to, and that the token has the right to write ({signs.token_page})."
            )
        case 404:
            return (
                f"Check that {namespace} exists and that the token may see {destination.repo_id}; a branch other than "
                "the hub's own has to be made on the site first."
            )
        case 409:
            return (
                "Somebody else has changed the repository meanwhile, or its name is taken by one that this token may "
                "not see. Publish again - what is there already is not sent again - or choose another name."
            )
        case 429:
            wait = "some minutes" if refusal.retry_after is None else f"{refusal.retry_after:g} s"
            return f"{signs.hub} wants fewer requests. Publish again in {wait}; what is there is not sent again."
    if refusal.may_pass:
        return (
            f"{signs.hub} does not answer as it should. Look at the network and proxy settings, and publish again: "
            "what is there is not sent again."
        )
    return "Asking again would not help; mend what is told here first."


def _came(refusal: Refusal) -> str:
    if refusal.status is not None:
        return f"the hub answered {refusal.status}"
    return "no answer came" if refusal.may_pass else "it stopped on this machine"


def _words(error: BaseException) -> str:
    """Returns what the hub or the client says, on one line."""
    said = getattr(error, "server_message", None) or getattr(error, "message", None) or str(error)
    line = " ".join(str(said).split()) or type(error).__name__
    return line if len(line) <= 300 else line[:297] + "..."


def _retry_after(response: object) -> float | None:
    headers = getattr(response, "headers", None) or {}
    try:
        return float(headers.get("Retry-After", ""))
    except ValueError:
        return None  # A date, which no hub is known to send; the usual waits do then.
