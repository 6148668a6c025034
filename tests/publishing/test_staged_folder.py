"""What is in a staged folder."""

from pathlib import Path

from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.staged_folder import Check, StagedFolder, files_below


def test_files_below__are_named_with_slashes_and_counted(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "a.png").write_bytes(b"123")
    (tmp_path / "README.md").write_bytes(b"12345")
    files = files_below(tmp_path)
    assert files == {"README.md": 5, "resources/a.png": 3}
    staged = StagedFolder(tmp_path, Destination("modelscope", "a/b"), files, (Check("size", "", True),))
    assert (staged.size, staged.is_right) == (8, True)
    wrong = StagedFolder(tmp_path, staged.destination, files, (*staged.checks, Check("code", "a pickle", False)))
    assert not wrong.is_right
