"""What a person writes where a command asks for a model: a file, a folder, a run, the word embedded, or a hub id."""

from pathlib import Path

from modelscope_beit import names
from modelscope_beit.model_folder.finding import find_model_folder, looks_like_hub_id


def local_path(model: str) -> Path:
    """Returns the file or folder on this machine; of the folder of a run the model that it has written.

    A model of the hub is downloaded. Raises ModelFolderError if there is nothing of that name.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if looks_like_hub_id(model):
        # Deferred: what lies here needs nothing of the hub's client.
        from modelscope_beit.plugin.hub import download_model

        return download_model(model)
    folder = find_model_folder(model)
    is_run = (folder / names.RUN_OUTPUT / names.CONFIGURATION_FILE).is_file()
    return folder / names.RUN_OUTPUT if is_run else folder
