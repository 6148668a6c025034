"""Only what passed its checks is handed to the uploading part."""

from pathlib import Path

import pytest

from modelscope_beit.errors import PublishingError
from modelscope_beit.publishing import publishing
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.publishing import publish, refuse_unless_right
from modelscope_beit.publishing.staged_folder import Check, StagedFolder, digests_below, files_below
from modelscope_beit.publishing.uploading import Uploaded

HUB = Destination("modelscope", "me/pets")


@pytest.fixture
def staged(tmp_path: Path) -> StagedFolder:
    (tmp_path / "README.md").write_text("# Pets\n")
    return StagedFolder(tmp_path, HUB, files_below(tmp_path), digests_below(tmp_path), (Check("size", "1 file", True),))


def test_publish__hands_on_what_was_checked(staged: StagedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    done = Uploaded("https://example.org/me/pets", "master", ("README.md",), ())
    monkeypatch.setattr(publishing, "upload", lambda *a, **k: calls.append((a, k)) or done)
    assert publish(staged, private=False, tag="v1") is done
    ((positional, keywords),) = calls
    assert positional == (staged.folder, HUB)
    assert (keywords["private"], keywords["tag"], keywords["token"]) == (False, "v1", None)
    assert keywords["message"].startswith("pets, published with modelscope-beit ")
    keywords["progress"](1, 2)


def test_refuse_unless_right__lists_every_failed_check(staged: StagedFolder) -> None:
    checks = (Check("code", "a pickle", False), Check("size", "", True), Check("secrets", "a token", False))
    wrong = StagedFolder(staged.folder, HUB, staged.files, staged.digests, checks)
    with pytest.raises(PublishingError, match="code: a pickle\n- secrets: a token"):
        publish(wrong)


def test_refuse_unless_right__notices_what_changed_after_the_checks(staged: StagedFolder) -> None:
    refuse_unless_right(staged)
    (staged.folder / "token.txt").write_text("abc")
    with pytest.raises(PublishingError, match=r"token\.txt changed"):
        refuse_unless_right(staged)
    (staged.folder / "token.txt").unlink()
    (staged.folder / "README.md").write_text("# pets\n")
    with pytest.raises(PublishingError, match=r"README\.md changed"):
        refuse_unless_right(staged)
