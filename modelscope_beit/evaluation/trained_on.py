"""Which pictures a network was trained on, where the folder of its run tells."""

from pathlib import Path

from modelscope_beit import names
from modelscope_beit.data.annotation_file import read_annotation_file
from modelscope_beit.data.content_overlap import file_sizes, find_overlap
from modelscope_beit.data.records import Records


def count_trained_on(folder: Path, records: Records) -> int:
    """Returns how many pictures are, byte for byte, among those that a run was trained on, as far as that is known.

    folder: of a run, or the model folder in it. Known are data that the run has divided itself, while their files are
    where they were. Raises SettingsError if the run's list of them is damaged.
    """
    for place in (folder, folder.parent):
        file = place / names.DIVISION_FILE
        if file.is_file():
            trained = read_annotation_file(file).get("train")
            return 0 if trained is None else _shared(trained, records)
    return 0


def _shared(trained: Records, records: Records) -> int:
    files = trained.files(), records.files()
    sizes = None
    if files[0] is not None and files[1] is not None:
        sizes = file_sizes(files[0]), file_sizes(files[1])
    return len(find_overlap(trained, records, sizes).pairs)
