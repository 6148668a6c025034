"""Whether mmcv and mmcls are there, and what to say if not."""

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from modelscope_beit.errors import MissingPackageError, SettingsError, require

# Backbones that ModelScope registers in mmcls: they are there once this module was imported.
_HOST_BACKBONES = ("BEiTv2", "NextViT")
_HOST_MODULE = "modelscope.models.cv.image_classification.backbones"


def require_mmcls(purpose: str, reasons: Sequence[str] = ()) -> None:
    """Makes sure that mmcv and mmcls can be imported.

    purpose: what they are needed for, as a clause after "is needed". reasons: sentences on why.
    Raises MissingPackageError that says what to install or, on Python 3.13 and newer, why that cannot be.
    """
    because = "".join(f"\n- {reason}" for reason in reasons)
    if sys.version_info >= (3, 13) and find_spec("mmcv") is None:
        raise MissingPackageError(
            f"mmcls is needed {purpose}, and with it mmcv 1.7.2, which does not build on Python "
            f"{sys.version_info.major}.{sys.version_info.minor}: its setup.py needs pkg_resources and a distutils of "
            f"Python 3.12 or older. Use Python 3.10, 3.11 or 3.12 for this.{because}"
        )
    try:
        require("mmcv", extra="openmmlab", purpose=purpose)
        require("mmcls", extra="openmmlab", purpose=purpose)
    except MissingPackageError as error:
        raise MissingPackageError(
            f"{error} mmcv builds with setuptools below 81 only: with pip 25.3 or newer, add --build-constraint FILE, "
            f"where FILE holds the line setuptools<81.{because}"
        ) from error


def register_host_backbone(kind: object) -> None:
    """Lets mmcls know a backbone that ModelScope brings, if `kind` is the name of one.

    Raises SettingsError if ModelScope's file cannot be imported (it needs einops).
    """
    if kind not in _HOST_BACKBONES:
        return
    try:
        importlib.import_module(_HOST_MODULE)
    except ImportError as error:
        raise SettingsError(
            f"ModelScope's backbone {kind} cannot be imported: {error}. Install what is missing."
        ) from error
