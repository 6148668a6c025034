"""What a folder needs so that ModelScope opens it without our import in the script, once a person trusts its code.

ModelScope 1.40 imports every .py file of a folder whose configuration.json says "allow_remote", if it was called with
trust_remote_code=True, and installs what is listed in requirements.txt before. Without trust it refuses the folder.
Source: modelscope.pipelines.builder.pipeline, modelscope.utils.plugins.register_modelhub_repo.
"""

from pathlib import Path

from modelscope_beit import __version__, names

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
REQUIREMENTS = f"{names.DISTRIBUTION}>={__version__}\n"


def add_wrapper(folder: Path) -> None:
    """Writes the two files; configuration.json has to say "allow_remote" besides."""
    # As bytes: line ends are the same everywhere.
    (folder / WRAPPER_FILE).write_bytes(WRAPPER.encode())
    (folder / REQUIREMENTS_FILE).write_bytes(REQUIREMENTS.encode())
