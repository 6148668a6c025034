"""The ModelScope hub, through its own client, modelscope_hub (read and tried: 0.5.1).

Not through `modelscope.hub.HubApi`: in modelscope 1.40 that layer loses `tag` and the patterns of files to leave out.
The client's tracker of uploads (`.ms_upload_cache`) is not used. It knows neither the branch nor whether the
repository still exists, so it would pass over files that are not there; what the hub itself lists is asked instead.
"""

import contextlib
import glob
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelscope_hub import HubApi
from modelscope_hub._legacy_api import LegacyClient
from modelscope_hub.config import HubConfig
from modelscope_hub.constants import Visibility
from modelscope_hub.errors import HubError, InvalidParameter, NotExistError, RateLimitError

from modelscope_beit.errors import PublishingError
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.hub_file import HubFile
from modelscope_beit.publishing.refusals import LONGEST_WAIT_SECONDS, Signs, with_patience

_logger = logging.getLogger(__name__)

# (connecting and each write, waiting for the answer after the last byte); the client's own answer may take an hour.
_BLOB_TIMEOUT_SECONDS = (30, 300)
_DEFAULT_BRANCH = "master"

Tell = Callable[[int], None]


class ModelScopeHub:
    """One repository of the ModelScope hub.

    token: None: MODELSCOPE_API_TOKEN, else what `modelscope login` has stored. MODELSCOPE_ENDPOINT names the site.
    Raises PublishingError if there is no token.
    """

    kinds: tuple[type[Exception], ...] = (HubError, OSError, RuntimeError)

    def __init__(self, destination: Destination, token: str | None) -> None:
        config = HubConfig(token=token)
        self.signs = Signs(
            "ModelScope", "MODELSCOPE_API_TOKEN", f"{config.endpoint}/my/myaccesstoken", "modelscope login"
        )
        if not config.token:
            raise PublishingError(
                f"There is no token for {destination}. Make one at {self.signs.token_page} and set "
                f"{self.signs.token_variable}, or log in once with `{self.signs.login}`."
            )
        self.token: str = config.token
        self.url = f"{config.endpoint}/models/{destination.repo_id}"
        self.revision = destination.revision or _DEFAULT_BRANCH
        self._id = destination.repo_id
        self._api = _TellingApi(config)

    def is_public(self) -> bool | None:
        """Tells who may see the repository; None: it does not exist."""
        try:
            return self._api.get_repo(self._id, "model").visibility != Visibility.PRIVATE
        except NotExistError:
            return None

    def create(self, *, private: bool, license_id: str | None) -> None:
        """Makes the repository. license_id: as SPDX or the hub's pages write it; None: the hub's default."""
        visibility = Visibility.PRIVATE if private else Visibility.PUBLIC
        with_patience(
            lambda: self._api.create_repo(self._id, "model", visibility=visibility, license=license_id),
            doing=f"Creating {self._id}",
        )

    def files(self) -> dict[str, HubFile]:
        """Returns path -> file of what is on the branch; empty if there is no such branch."""
        try:
            listed = self._api.list_repo_files(self._id, "model", revision=self.revision)
        except NotExistError:
            return {}
        return {file.path: HubFile(file.size, sha256=file.sha256) for file in listed if file.type != "tree"}

    def tags(self) -> set[str]:
        """Returns the names of the tags there are."""
        _, tags = self._api.legacy.list_revisions_detail(self._id, "model")
        return {str(tag.get("Revision")) for tag in tags}

    def send(self, folder: Path, paths: Collection[str], message: str, tell: Tell) -> None:
        """Sends files as one commit, so all or none; the client asks again where that may help.

        tell: gets the bytes that have left so far. KeyboardInterrupt ends it without waiting for the files in line.
        """
        client = self._api.legacy
        client.start(paths, tell)
        printed = io.StringIO()
        try:
            # The client prints a report; who reads our standard output expects our answer.
            with contextlib.redirect_stdout(printed), _without_steps(), ThreadPoolExecutor(1) as sender:
                sending = sender.submit(
                    self._api.upload_folder,
                    self._id,
                    "model",
                    folder,
                    commit_message=message,
                    revision=self.revision,
                    allow_patterns=[glob.escape(path) for path in paths],
                    use_cache=False,
                    disable_tqdm=True,
                    progress_callback=client.tell_commit,
                )
                try:
                    sending.result()
                finally:
                    # An interrupt comes here: within the client it would wait until its threads have sent everything.
                    client.stop()
        except self.kinds:
            # The client's error counts files; what the hub said has been kept on the way.
            if client.refusals:
                raise client.refusals.popitem()[1] from None
            raise
        finally:
            _logger.debug("%s", printed.getvalue())

    def set_tag(self, tag: str) -> None:
        """Names the state of the branch, once and for all."""
        with_patience(
            lambda: self._api.create_repo_tag(self._id, "model", tag, revision=self.revision),
            doing=f"Setting the tag {tag}",
        )


class _StoppedError(HubError):
    """Nothing more is to be sent."""

    # After one of these the client does not ask again.
    error_code = InvalidParameter.error_code


class _TellingClient(LegacyClient):
    """The hub's client, which also tells each byte as it leaves, commits everything at once, and can be stopped.

    Its own upload_folder tells of whole files only, and of failures only how many there were. Where a file fails it
    commits the others, so that new class names would stand beside old weights.

    refusals: what was asked -> the hub's last refusal, where nothing came of it later.
    """

    refusals: dict[str, HubError]

    def start(self, paths: Collection[str], tell: Tell) -> None:
        """Counts from zero. paths: of all files that the commit is to hold."""
        self.refusals = {}
        self._missing = set(paths)
        self._held: dict[str, dict[str, Any]] = {}
        self._is_stopped = False
        self._tell = tell
        self._sent: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Lets every file that is still on its way, or in line, fail at its next piece."""
        self._is_stopped = True

    def tell_commit(self, event: dict[str, Any]) -> None:
        """Counts the small files, which travel in the commit itself."""
        if event.get("error") is None and event.get("batch_inline_bytes"):
            self._count(f"commit {event['event']} {event['batch_index']}", event["batch_inline_bytes"])

    def upload_blob(self, upload_url: str, data: Any, size: int, **options: Any) -> dict[str, Any]:
        """Sends one large file; an attempt after a failed one counts anew."""
        # Each attempt may have another address.
        digest = self._digests[upload_url]
        with self._lock:
            self._sent[digest] = 0
        stream = _ToldStream(data, lambda number: self._count(digest, number))
        options.setdefault("timeout", _BLOB_TIMEOUT_SECONDS)
        with self._keeping_refusals(digest), _waiting_as_told():
            return dict(super().upload_blob(upload_url, stream, size, **options))

    def validate_blobs(self, repo_id: str, repo_type: str, objects: list[dict[str, Any]]) -> dict[str, str | None]:
        """Asks which large files the hub lacks."""
        with self._keeping_refusals("which files are missing"), _waiting_as_told():
            found = dict(super().validate_blobs(repo_id, repo_type, objects))
        self._digests |= {url: digest for digest, url in found.items() if url}
        return found

    def create_commit(
        self,
        repo_id: str,
        repo_type: str,
        operations: list[dict[str, Any]],
        commit_message: str,
        revision: str = _DEFAULT_BRANCH,
    ) -> dict[str, Any]:
        """Puts files into the branch, once all of them can be; until then they are held."""
        self._held |= {operation["path"]: operation for operation in operations}
        if self._missing - self._held.keys():
            return {}
        with self._keeping_refusals("the commit"):
            done = dict(super().create_commit(repo_id, repo_type, [*self._held.values()], commit_message, revision))
        self._missing, self._held = set(), {}
        return done

    @contextlib.contextmanager
    def _keeping_refusals(self, asked: str) -> Iterator[None]:
        self._end_if_stopped()
        try:
            yield
        except HubError as error:
            self.refusals[asked] = error
            raise
        self.refusals.pop(asked, None)

    def _count(self, what: str, number: int) -> None:
        self._end_if_stopped()
        with self._lock:
            self._sent[what] = self._sent.get(what, 0) + number
            self._tell(sum(self._sent.values()))

    def _end_if_stopped(self) -> None:
        if self._is_stopped:
            raise _StoppedError("Sending was stopped.")


class _TellingApi(HubApi):
    """The hub's API over the client that tells."""

    def __init__(self, config: HubConfig) -> None:
        super().__init__(config)
        self._telling = _TellingClient(config.token, str(config.endpoint))

    @property
    def legacy(self) -> _TellingClient:
        """The client of what the hub's newer API lacks, so of every upload."""
        return self._telling

    def _create_repo_exist_ok(self, repo_id: str, repo_type: str) -> None:
        """Leaves the repository as it is: where it is missing, an upload would make a public one."""


class _ToldStream:
    """Reads a stream and tells how much; it has no length and no place to go back to, as what the client hands over."""

    def __init__(self, stream: Any, tell: Tell) -> None:
        self._stream = stream
        self._tell = tell

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes."""
        chunk: bytes = self._stream.read(size)
        self._tell(len(chunk))
        return chunk


@contextlib.contextmanager
def _waiting_as_told() -> Iterator[None]:
    """Waits after "too many requests" as long as the hub says, before the client asks again by its own clock."""
    try:
        yield
    except RateLimitError as error:
        if error.retry_after is not None and error.retry_after <= LONGEST_WAIT_SECONDS:
            _logger.warning("The hub wants fewer requests; going on in %g s.", error.retry_after)
            time.sleep(error.retry_after)
        raise


@contextlib.contextmanager
def _without_steps() -> Iterator[None]:
    """Within it the client logs no steps (INFO), unless its environment variable sets a level."""
    logger = logging.getLogger("modelscope_hub")
    level = logger.level
    if level == logging.INFO and "MODELSCOPE_LOG_LEVEL" not in os.environ:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
