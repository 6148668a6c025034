"""From a model folder or a run folder to a folder as it is to be on a hub. Nothing leaves the machine here."""

from pathlib import Path

from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.staged_folder import StagedFolder


def stage(source: Path, destination: Destination, folder: Path, *, self_contained: bool = False) -> StagedFolder:
    """Writes everything that is to be published into a new folder, checks it, and returns what was found.

    source: a model folder, or the folder of a run. folder: a new one.
    self_contained: with the wrapper that ModelScope imports when it is told to trust the code of the folder.
    """
    raise NotImplementedError
