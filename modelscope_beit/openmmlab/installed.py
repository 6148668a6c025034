"""Whether mmcv and mmcls are there, and what to say if not."""

import importlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from modelscope_beit.errors import MissingPackageError, SettingsError, require
from modelscope_beit.settings.mm_backbone import BEIT_IN_MMCLS

# Backbones that ModelScope and we register in mmcls -> the module that does it when it is imported.
_OF_THE_HOST = "modelscope.models.cv.image_classification.backbones"
_REGISTERED_BY = {
    "BEiTv2": _OF_THE_HOST,
    "NextViT": _OF_THE_HOST,
    BEIT_IN_MMCLS: "modelscope_beit.openmmlab.backbone",
}
# What mmcv says when it is imported, and torch for it; nothing follows from it for anybody here.
_REMARKS = ("On January 1, 2023, MMCV will release", "Fail to import ``MultiScaleDeformableAttention``")
_REMARK_OF_TORCH = "No CUDA runtime is found"
_HOW_TO_BUILD = (
    "mmcv builds with setuptools below 81 only, and pip 25.3 or newer can be told so:\n"
    "    echo 'setuptools<81' >constraint.txt\n"
    '    pip install --build-constraint constraint.txt "modelscope-beit[openmmlab]"'
)


def require_mmcls(purpose: str, reasons: Sequence[str] = ()) -> None:
    """Makes sure that mmcv and mmcls can be imported, without the remarks that they make then.

    purpose: what they are needed for, as a clause after "is needed". reasons: sentences on why.
    Raises MissingPackageError that says what to install or, on Python 3.13 and newer, why that cannot be.
    """
    because = "".join(f"\n- {reason}" for reason in reasons)
    if sys.version_info >= (3, 13) and find_spec("mmcv") is None:
        raise MissingPackageError(
            f"mmcls is needed {purpose}, and with it mmcv 1.7.2, which does not build on Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}: its setup.py needs pkg_resources and a distutils of "
            f"Python 3.12 or older. Use Python 3.10, 3.11 or 3.12 for this.{because}"
        )
    try:
        with _without_remarks():
            require("mmcv", extra="openmmlab", purpose=purpose)
            # Not only mmcls: the second remark is made by its models.
            require("mmcls.models", extra="openmmlab", purpose=purpose)
    except MissingPackageError as error:
        raise MissingPackageError(f"{error}\n{_HOW_TO_BUILD}{because}") from error


def register_backbone(kind: object) -> None:
    """Lets mmcls know a backbone that ModelScope or we bring, if `kind` is the name of one.

    Raises SettingsError if ModelScope's file cannot be imported (it needs einops).
    """
    module = _REGISTERED_BY.get(kind) if isinstance(kind, str) else None
    if module is None:
        return
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(
            f"ModelScope's backbone {kind} cannot be imported: {error}. Install what is missing."
        ) from error


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keeps quiet, for as long as imports take, what every import of mmcv says."""

    def says_something(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_REMARK_OF_TORCH)

    logger = logging.getLogger("torch.utils.cpp_extension")
    logger.addFilter(says_something)
    try:
        with warnings.catch_warnings():
            for remark in _REMARKS:
                warnings.filterwarnings("ignore", message=remark, category=UserWarning)
            yield
    finally:
        logger.removeFilter(says_something)
