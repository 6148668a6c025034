"""Pictures without labels as records, which everything that reads pictures takes."""

from collections.abc import Sequence

import numpy as np

from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records


def unlabelled_records(paths: Sequence[str], description: str) -> Records:
    """Returns records without classes, all labelled -1: for features only, not for training or evaluation.

    paths: of files, or URLs.
    """
    return Records(FilePictures(paths), np.full(len(paths), -1, np.int64), (), description=description)
