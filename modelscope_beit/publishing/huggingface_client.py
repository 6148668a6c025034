"""The Hugging Face hub, through its own client, huggingface_hub (read and tried: 1.33).

Where hf_xet is installed the client sends large files through it, otherwise by LFS.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from modelscope_beit.errors import PublishingError
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.hub_file import HubFile
from modelscope_beit.publishing.modelscope_hub_client import Tell
from modelscope_beit.publishing.refusals import Signs, with_patience

_DEFAULT_BRANCH = "main"


class HuggingFaceHub:
    """One repository of the Hugging Face hub.

    token: None: HF_TOKEN, else what `hf auth login` has stored. HF_ENDPOINT names the site.
    Raises PublishingError if there is no token.
    """

    kinds: tuple[type[Exception], ...] = (HTTPError, OSError, RuntimeError, ValueError)

    def __init__(self, destination: Destination, token: str | None) -> None:
        token = token or get_token()
        self._api = HfApi(token=token)
        self.signs = Signs("Hugging Face", "HF_TOKEN", f"{self._api.endpoint}/settings/tokens", "hf auth login")
        if not token:
            raise PublishingError(
                f"There is no token for {destination}. Make one at {self.signs.token_page} and set "
                f"{self.signs.token_variable}, or log in once with `{self.signs.login}`."
            )
        self.token = token
        self.url = f"{self._api.endpoint}/{destination.repo_id}"
        self.revision = destination.revision or _DEFAULT_BRANCH
        self._id = destination.repo_id

    def is_public(self) -> bool | None:
        """Tells who may see the repository; None: it does not exist."""
        try:
            info = with_patience(lambda: self._api.model_info(self._id), doing=f"Looking at {self._id}")
        except RepositoryNotFoundError as error:
            # The client calls it so, too, where the token was refused, or where it may not see what is there.
            if error.response.status_code != 404:
                raise
            return None
        return not info.private

    def create(self, *, private: bool, license_id: str | None) -> None:
        """Makes the repository; the card says its license."""
        with_patience(
            lambda: self._api.create_repo(self._id, private=private, exist_ok=True), doing=f"Creating {self._id}"
        )

    def files(self) -> dict[str, HubFile]:
        """Returns path -> file of what is on the branch; a branch that is missing is made."""
        if self.revision != _DEFAULT_BRANCH:
            with_patience(
                lambda: self._api.create_branch(self._id, branch=self.revision, exist_ok=True),
                doing=f"Making the branch {self.revision}",
            )
        try:
            info = with_patience(
                lambda: self._api.model_info(self._id, revision=self.revision, files_metadata=True),
                doing="Listing the files",
            )
        except RevisionNotFoundError:
            return {}
        return {
            file.rfilename: HubFile(file.size or 0, file.lfs.sha256 if file.lfs else None, file.blob_id)
            for file in info.siblings or ()
        }

    def tags(self) -> set[str]:
        """Returns the names of the tags there are."""
        refs = with_patience(lambda: self._api.list_repo_refs(self._id), doing="Listing the tags")
        return {tag.name for tag in refs.tags}

    def send(self, folder: Path, paths: Collection[str], message: str, tell: Tell) -> None:
        """Sends large files one after the other and puts all into one commit; tell: gets the bytes that arrived."""
        additions = [CommitOperationAdd(path, str(folder / path)) for path in paths]
        with _without_bars():
            self._send(folder, additions, message, tell)

    def _send(self, folder: Path, additions: list[CommitOperationAdd], message: str, tell: Tell) -> None:
        done = 0
        for addition in additions:
            with_patience(
                partial(self._api.preupload_lfs_files, self._id, [addition], revision=self.revision),
                doing=f"Sending {addition.path_in_repo}",
            )
            done += (folder / addition.path_in_repo).stat().st_size
            tell(done)
        with_patience(
            lambda: self._api.create_commit(self._id, additions, commit_message=message, revision=self.revision),
            doing="Committing",
        )

    def set_tag(self, tag: str) -> None:
        """Names the state of the branch, once and for all."""
        with_patience(
            lambda: self._api.create_tag(self._id, tag=tag, revision=self.revision), doing=f"Setting the tag {tag}"
        )


@contextmanager
def _without_bars() -> Iterator[None]:
    """Within it the client draws no bars of its own."""
    had_none = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not had_none:
            enable_progress_bars()
