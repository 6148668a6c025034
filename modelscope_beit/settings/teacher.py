"""Which network teaches the tokenizer, as a person names it. Standard library only."""

from dataclasses import dataclass
from typing import Literal, get_args

from modelscope_beit.errors import SettingsError

TeacherKind = Literal["transformers", "timm", "folder", "efficientnet-lite0"]
EFFICIENTNET_LITE0: TeacherKind = "efficientnet-lite0"
PUBLISHED_TEACHER = "transformers:openai/clip-vit-base-patch16"


@dataclass(frozen=True)
class TeacherSettings:
    """A teacher.

    source: what its library calls it, or where it lies; empty where the kind says all. weights: a file of weights
    for a network of timm; None: timm's own, which it downloads. image_size: side in pixels of the square that the
    teacher sees; None: the one that suits it and the patches of the tokenizer.
    """

    kind: TeacherKind
    source: str = ""
    weights: str | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every value that cannot be used."""
        problems = []
        if self.kind not in get_args(TeacherKind):
            problems.append(f"teacher.kind must be one of {', '.join(get_args(TeacherKind))}, not {self.kind!r}")
        if self.kind != EFFICIENTNET_LITE0 and not self.source:
            problems.append(f"teacher.source is empty, but the kind {self.kind} needs a name or a folder")
        if self.weights is not None and self.kind != "timm":
            problems.append(f"teacher.weights is for networks of timm; {self.kind} brings its own")
        if self.image_size is not None and self.image_size < 1:
            problems.append(f"teacher.image_size must be at least 1, not {self.image_size}")
        if problems:
            raise SettingsError("The teacher cannot be used: " + "; ".join(problems) + ".")

    @property
    def written(self) -> str:
        """The teacher in the words that read_teacher understands, without its image size."""
        if self.kind == EFFICIENTNET_LITE0:
            return self.kind
        prefix = "" if self.kind == "folder" else f"{self.kind}:"
        return f"{prefix}{self.source}" + (f"@{self.weights}" if self.weights else "")


def read_teacher(written: str, image_size: int | None = None) -> TeacherSettings:
    """Returns the teacher that somebody named.

    "transformers:NAME" is a CLIP, DINO, DINOv2 or DINOv3 of transformers, a folder or a hub id; "timm:NAME" a network
    of timm with its own weights, "timm:NAME@FILE" with those of a file; "efficientnet-lite0" the one whose weights a
    package of that name brings; everything else a model that our pipeline opens: a folder, a hub id, "embedded".
    Raises SettingsError for a kind without a name.
    """
    if written == EFFICIENTNET_LITE0:
        return TeacherSettings(EFFICIENTNET_LITE0, image_size=image_size)
    kind, colon, source = written.partition(":")
    if colon and kind == "transformers":
        return TeacherSettings("transformers", source, image_size=image_size)
    if colon and kind == "timm":
        name, _, weights = source.partition("@")
        return TeacherSettings("timm", name, weights or None, image_size)
    return TeacherSettings("folder", written, image_size=image_size)
