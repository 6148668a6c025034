"""Teachers as a person names them."""

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.teacher import PUBLISHED_TEACHER, TeacherSettings, read_teacher


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("transformers:openai/clip-vit-base-patch16", ("transformers", "openai/clip-vit-base-patch16", None)),
        ("timm:resnet50", ("timm", "resnet50", None)),
        ("timm:resnet50@/weights/r50.pth", ("timm", "resnet50", "/weights/r50.pth")),
        ("efficientnet-lite0", ("efficientnet-lite0", "", None)),
        ("embedded", ("folder", "embedded", None)),
        ("damo/some_model", ("folder", "damo/some_model", None)),
        ("/models/mine", ("folder", "/models/mine", None)),
    ],
)
def test_read_teacher__and_back(written: str, expected: tuple) -> None:
    teacher = read_teacher(written, 160)
    assert (teacher.kind, teacher.source, teacher.weights) == expected and teacher.image_size == 160
    assert teacher.written == written


def test_published_teacher__is_clip() -> None:
    assert read_teacher(PUBLISHED_TEACHER) == TeacherSettings("transformers", "openai/clip-vit-base-patch16")


@pytest.mark.parametrize("written", ["transformers:", "timm:", "timm:@weights.pth", ""])
def test_read_teacher__refuses_a_kind_without_a_name(written: str) -> None:
    with pytest.raises(SettingsError, match="needs a name or a folder"):
        read_teacher(written)


def test_teacher_settings__tell_all_wrong_values_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        TeacherSettings("folder", "", weights="w.pth", image_size=0)
    for word in ("teacher.source", "teacher.weights", "teacher.image_size"):
        assert word in str(caught.value)
    with pytest.raises(SettingsError, match="must be one of transformers, timm"):
        TeacherSettings("keras", "x")  # type: ignore[arg-type]
