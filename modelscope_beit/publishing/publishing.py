"""From a staged folder to a hub: only what passed all checks, and only as it was when it passed them."""

from collections.abc import Callable

from modelscope_beit import __version__, names
from modelscope_beit.errors import PublishingError
from modelscope_beit.publishing.staged_folder import StagedFolder, digests_below
from modelscope_beit.publishing.uploading import Uploaded, upload


def publish(
    staged: StagedFolder,
    *,
    token: str | None = None,
    private: bool = True,
    tag: str | None = None,
    message: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Uploaded:
    """Brings a staged folder to its hub, and tells what was sent and what was there already.

        staged = stage(Path("runs/pets"), read_destination("modelscope:namespace/pets"), Path("staged/pets"))
        published = publish(staged)

    The arguments are those of uploading.upload: token None means the hub's environment variable or stored login.
    message: of the commit; None: one that names the model and this package's version.
    Raises PublishingError, with nothing sent, if a check of the folder has failed, or if its files are no longer those
    that were checked; and as upload does.
    """
    refuse_unless_right(staged)
    return upload(
        staged.folder,
        staged.destination,
        token=token,
        private=private,
        tag=tag,
        message=message or f"{staged.destination.name}, published with {names.DISTRIBUTION} {__version__}",
        progress=progress or (lambda sent, size: None),
    )


def refuse_unless_right(staged: StagedFolder) -> None:
    """Raises PublishingError that lists every failed check, or the files that changed after the checks."""
    failed = [f"{check.name}: {check.finding}" for check in staged.checks if not check.is_right]
    if failed:
        raise PublishingError(
            "\n- ".join([f"{staged.folder} was not sent to {staged.destination}, because checks failed:", *failed])
        )
    now, then = digests_below(staged.folder), staged.digests
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if changed:
        raise PublishingError(
            f"{staged.folder} is no longer what was checked: {', '.join(changed[:5])} changed. Nothing was sent; "
            "change the source instead, and stage it again."
        )
