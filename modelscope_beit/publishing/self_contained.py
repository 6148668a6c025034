"""What a folder needs so that ModelScope opens it without our import in the script, once a person trusts its code.

ModelScope 1.40 imports every .py file of a folder whose configuration.json says "allow_remote", if it was called with
trust_remote_code=True, and installs what is listed in requirements.txt before. Without trust it refuses the folder.
Source: modelscope.pipelines.builder.pipeline, modelscope.utils.plugins.register_modelhub_repo.
"""

from pathlib import Path

from modelscope_beit import __version__, names
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.foreign_models import MmclsModelSettings, TimmModelSettings
from modelscope_beit.settings.foreign_steps import ForeignSteps

WRAPPER_FILE = "ms_wrapper.py"
REQUIREMENTS_FILE = "requirements.txt"
ALLOW_REMOTE = "allow_remote"
# Keys by which a configuration asks for code; of a source, neither is taken over.
CODE_KEYS = (ALLOW_REMOTE, "plugins")

WRAPPER = f'''"""Registers the classes that open this folder. ModelScope imports it when it is told to trust the folder.

There is nothing else in it: the code is in the package {names.DISTRIBUTION}, which is installed with pip.
"""

import modelscope_beit  # noqa: F401
'''
# The extras of the package that networks or steps of others need; "" for what is native.
EXTRAS = ("", "timm", "openmmlab")


def requirements(extra: str) -> str:
    """Returns the text of requirements.txt for a model that needs an extra, one of EXTRAS."""
    return f"{package(extra)}>={__version__}\n"


def package(extra: str) -> str:
    """Returns what pip is asked for, e.g. "modelscope-beit[timm]"."""
    return f"{names.DISTRIBUTION}[{extra}]" if extra else names.DISTRIBUTION


def extra_for(settings: FolderSettings) -> str:
    """Returns the extra that opening a folder needs, one of EXTRAS."""
    if isinstance(settings.model, MmclsModelSettings) or isinstance(settings.preprocessing, ForeignSteps):
        return "openmmlab"
    return "timm" if isinstance(settings.model, TimmModelSettings) else ""


def add_wrapper(folder: Path, extra: str) -> None:
    """Writes the two files; configuration.json has to say "allow_remote" besides."""
    # As bytes: line ends are the same everywhere.
    (folder / WRAPPER_FILE).write_bytes(WRAPPER.encode())
    (folder / REQUIREMENTS_FILE).write_bytes(requirements(extra).encode())
