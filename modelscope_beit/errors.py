"""The errors that a user can cause, and the door to optional packages.

Every message says what was expected, what came, where, and what to do. ModelScope's builder re-raises an
error as ``type(error)(one string)``, so each kind can be made from exactly one string.
"""

import importlib
from types import ModuleType


class BeitError(Exception):
    """An error whose message is written for the person who runs the program."""


class SettingsError(BeitError, ValueError):
    """A configuration, an option or an argument that cannot be used as it is."""


class ImageError(BeitError, ValueError):
    """A picture that cannot be read, or that does not fit the network."""


class CheckpointError(BeitError, ValueError):
    """A weight file that is missing, unknown, unsafe or does not fit the network."""


class ModelFolderError(BeitError, ValueError):
    """A model folder or model id that cannot be opened or written."""


class ExportError(BeitError, RuntimeError):
    """An exported file that does not answer as its network does, or that cannot be opened."""


class PublishingError(BeitError, RuntimeError):
    """A hub that refuses, does not answer, or holds something else than what is to be published."""


class TrainingError(BeitError, RuntimeError):
    """A run that cannot go on: a loss that is not finite, or too little memory."""


class UntrustedCodeError(BeitError, RuntimeError):
    """A file that would run code, met without ``trust_remote_code=True``."""


class MissingPackageError(BeitError, ImportError):
    """An optional package that a request needs and that is not installed."""


def require(module_name: str, *, extra: str, purpose: str) -> ModuleType:
    """Imports an optional package, or raises MissingPackageError naming the extra that brings it.

    purpose: what the package is needed for, as a clause that follows "is needed", e.g. "to write ONNX files".
    """
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        raise MissingPackageError(
            f"The package {module_name} is needed {purpose}, but importing it failed ({error}). "
            f'Install it with: pip install "modelscope-beit[{extra}]"'
        ) from error
