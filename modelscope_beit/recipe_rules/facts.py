"""What a rule knows before it chooses a recipe, and what it gives: key paths with values and reasons.

Plain values, standard library only. Where they come from: training/recipe_facts.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# What the weights have seen: no labels at all; ImageNet-21k's classes; the classes of some task, after whatever else.
Lineage = Literal["self-supervised", "intermediate", "fine-tuned"]


# The reason for a value that the user has set.
GIVEN = "as you set it"


@dataclass(frozen=True)
class StartFacts:
    """The network and its weights.

    width, depth: of a transformer of ours, None for the networks of others. image_size: (height, width) in pixels
    that the network was built for; None: any. lineage_reason: how the lineage was found out.
    val_steps: preprocessor.val, which training has to go with.
    """

    lineage: Lineage
    lineage_reason: str
    width: int | None
    depth: int | None
    image_size: tuple[int, int] | None
    val_steps: tuple[dict[str, object], ...]


@dataclass(frozen=True)
class DataFacts:
    """The training data. smallest, largest: pictures of a class that has any.

    picture_size: (height, width) in pixels in the middle of a sample; None: not known.
    has_signs: the classes are single letters or digits, which are others in a mirror.
    """

    num_train: int
    smallest: int
    largest: int
    is_multi_label: bool
    picture_size: tuple[int, int] | None
    has_signs: bool


@dataclass(frozen=True)
class DeviceFacts:
    """Where training takes place. precision: what "auto" becomes there, "fp32", "bf16" or "fp16".

    free_bytes: of each process; None: not known. fixed_bytes, bytes_per_picture: what a training step takes, where
    pictures have measured_size, (height, width) in pixels.
    """

    name: str
    num_processes: int
    precision: str
    free_bytes: int | None
    fixed_bytes: int
    bytes_per_picture: int
    measured_size: tuple[int, int]


@dataclass(frozen=True)
class Facts:
    """All of it. given: key path -> value of what the user has set, which goes before any rule."""

    start: StartFacts
    data: DataFacts
    device: DeviceFacts
    given: Mapping[str, object] = field(default_factory=dict)

    def given_count(self, path: str) -> int | None:
        """Returns a whole number that the user has set, or None; what is none is told when the recipe is read."""
        value = self.given.get(path)
        return value if type(value) is int and value >= 1 else None


@dataclass(frozen=True)
class Choice:
    """A value that a rule chooses. path: its key path in the configuration; what stood there is replaced as a whole.

    reason: a clause or sentence; a recipe without reasons cannot be argued with.
    """

    path: str
    value: object
    reason: str
