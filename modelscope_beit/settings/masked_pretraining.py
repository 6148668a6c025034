"""BEiT v2's masked image modelling: network, masks and views by sizes. Standard library only.

The defaults are the published base. Source: BEiT v2 (arXiv 2208.06366), section 2.3; unilm/beit2 PRETRAINING.md,
run_beitv2_pretraining.py, masking_generator.py, datasets.py.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.model import ARCHITECTURES, BackboneSettings
from modelscope_beit.settings.preprocessing import Step, evaluation_steps

CodeInterpolation = Literal["bicubic", "lanczos"]
CODE_INTERPOLATIONS: tuple[CodeInterpolation, ...] = ("bicubic", "lanczos")

# 75 of 14 x 14 patches.
_PUBLISHED_RATIO = 75 / 196
_PUBLISHED_BLOCK = 16 / 75
# The extra blocks take their patch tokens from a quarter of base's depth before its end; in large it is the same three.
_BLOCKS_AFTER_EARLY_LAYER = 3
# From this side on (pixels) the published classifiers see the whole picture.
_UNCROPPED_SIDE = 384


@dataclass(frozen=True)
class MaskingSettings:
    """Which share of the patches is hidden, in blocks of which shape.

    num_masked: patches hidden in each picture; None: ratio of them all, rounded. min_block, max_block: patches of one
    block; None: as published, 16 of every 75 that are hidden, and as many as are hidden. min_aspect: of a block's
    height to its width; the largest is 1 / min_aspect.
    """

    ratio: float = _PUBLISHED_RATIO
    num_masked: int | None = None
    min_block: int | None = None
    max_block: int | None = None
    min_aspect: float = 0.3

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every value that cannot be used."""
        problems = []
        if not 0 < self.ratio < 1:
            problems.append(f"ratio must be between 0 and 1, not {self.ratio}")
        for name in ("num_masked", "min_block", "max_block"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"{name} must be at least 1, not {value}")
        if not 0 < self.min_aspect <= 1:
            problems.append(f"min_aspect must be in (0, 1], not {self.min_aspect}")
        if problems:
            raise SettingsError("Masks cannot be drawn: " + "; ".join(problems) + ".")

    def count(self, grid: tuple[int, int]) -> int:
        """Returns how many patches of a grid (rows, columns) are hidden, the same number in every picture."""
        return round(self.ratio * grid[0] * grid[1]) if self.num_masked is None else self.num_masked

    def smallest_block(self, grid: tuple[int, int]) -> int:
        """Returns the least area, in patches, that a block is drawn with."""
        return max(1, round(_PUBLISHED_BLOCK * self.count(grid))) if self.min_block is None else self.min_block


@dataclass(frozen=True)
class ViewSettings:
    """The two views of a picture: what the network sees, and what the tokenizer sees of the same crop.

    code_size: (height, width) of the second view in pixels; None: that of the first. code_interpolation: how the
    second view is resized; the published runs set bicubic (the script's default is lanczos), the first is always
    bicubic. color_jitter: largest change of brightness, contrast and saturation. flip: probability of the mirror image.
    scale, ratio: share of the picture's area and proportions of the crop. num_crops: 0, as published: a new crop each
    time; else each picture has so many, drawn once for all, so that their codes can be kept. mean, std: of the first
    view, for values in [0, 1]; the second is not normalised.
    """

    code_size: tuple[int, int] | None = None
    code_interpolation: CodeInterpolation = "bicubic"
    color_jitter: float = 0.4
    flip: float = 0.5
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    num_crops: int = 0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every value that cannot be used."""
        problems = []
        if self.code_size is not None and min(self.code_size) < 1:
            problems.append(f"code_size must be at least 1x1 pixels, not {self.code_size[0]}x{self.code_size[1]}")
        if self.code_interpolation not in CODE_INTERPOLATIONS:
            problems.append(
                f"code_interpolation must be one of {', '.join(CODE_INTERPOLATIONS)}, not {self.code_interpolation!r}"
            )
        if not 0 <= self.color_jitter <= 1:
            problems.append(f"color_jitter must be in [0, 1], not {self.color_jitter}")
        if not 0 <= self.flip <= 1:
            problems.append(f"flip must be in [0, 1], not {self.flip}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            problems.append(f"scale must be two rising shares in (0, 1], not {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            problems.append(f"ratio must be two rising numbers above 0, not {self.ratio}")
        if self.num_crops < 0:
            problems.append(f"num_crops must be at least 0, not {self.num_crops}")
        if min(self.std) <= 0:
            problems.append(f"std must be above 0, not {self.std}")
        if problems:
            raise SettingsError("The views cannot be made: " + "; ".join(problems) + ".")


def _published_model() -> MaskedImageModelSettings:
    return MaskedImageModelSettings(BackboneSettings(relative_position="shared", pooling="class_token"))


@dataclass(frozen=True)
class MaskedPretrainingSettings:
    """Settings of masked image modelling; the defaults are those of the published base.

    early_layer: number of the block, from 1, whose patch tokens enter the extra blocks beside the last class token.
    head_layers: number of these extra blocks; 0: patch aggregation and its loss do not exist, as in BEiT v1.
    """

    model: MaskedImageModelSettings = field(default_factory=_published_model)
    early_layer: int = 9
    head_layers: int = 2
    masking: MaskingSettings = field(default_factory=MaskingSettings)
    views: ViewSettings = field(default_factory=ViewSettings)

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every contradiction at once."""
        problems = []
        backbone = self.model.backbone
        if backbone.relative_position == "per_layer":
            problems.append("all blocks share one table of relative positions (relative_position shared, or none)")
        if not 1 <= self.early_layer <= backbone.depth:
            problems.append(f"early_layer must be between 1 and the depth {backbone.depth}, not {self.early_layer}")
        if self.head_layers < 0:
            problems.append(f"head_layers must be at least 0, not {self.head_layers}")
        rows, columns = backbone.grid
        count = self.num_masked
        if not 1 <= count < rows * columns:
            problems.append(f"{count} of {rows}x{columns} patches cannot be hidden; some must be, and some must not")
        if self.masking.smallest_block(backbone.grid) > max(count, 1):
            problems.append(
                f"blocks of at least {self.masking.min_block} patches do not fit into the {count} that are hidden; "
                "lower min_block, or set it to null for the published proportion"
            )
        if problems:
            raise SettingsError("Masked image modelling cannot be set up: " + "; ".join(problems) + ".")

    @property
    def num_masked(self) -> int:
        """How many patches are hidden in each picture."""
        return self.masking.count(self.model.backbone.grid)

    @property
    def code_size(self) -> tuple[int, int]:
        """(height, width) of what the tokenizer sees, in pixels."""
        return self.views.code_size or self.model.backbone.image_size

    def extra_drop_paths(self) -> tuple[float, ...]:
        """Returns the drop-path rate of each extra block: the ladder of the others, going on from the early layer."""
        last = max(self.model.backbone.depth, self.early_layer + self.head_layers) - 1
        return tuple(
            self.model.backbone.drop_path * (self.early_layer + number) / max(last, 1)
            for number in range(self.head_layers)
        )


def masked_pretraining_settings(size: str, **backbone: object) -> MaskedPretrainingSettings:
    """Returns the published settings of "base" or "large", or those of another size of ARCHITECTURES made alike.

    backbone: any field of BackboneSettings to set otherwise. The early layer lies three blocks before the end, as in
    both published sizes, and at least behind the first. Raises SettingsError for an unknown size.
    """
    if size not in ARCHITECTURES:
        raise SettingsError(f"There is no size {size!r}; choose one of {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[size]
    published = replace(
        _published_model().backbone,
        width=architecture.width,
        depth=architecture.depth,
        num_heads=architecture.num_heads,
        mlp_hidden=architecture.mlp_hidden,
        layer_scale_init=0.1 if architecture.depth <= 12 else 1e-5,
    )
    chosen = replace(published, **backbone)  # type: ignore[arg-type]
    return MaskedPretrainingSettings(MaskedImageModelSettings(chosen), early_layer_of(chosen.depth))


def early_layer_of(depth: int) -> int:
    """Returns the early layer of a network of this depth: 9 of 12, 21 of 24, as published."""
    return max(1, depth - _BLOCKS_AFTER_EARLY_LAYER)


def evaluation_steps_of(settings: MaskedPretrainingSettings) -> tuple[Step, ...]:
    """Returns the steps from a picture to the network's input, without chance: those of the published classifiers."""
    mean, std = ([round(255 * value, 6) for value in values] for values in (settings.views.mean, settings.views.std))
    height, width = settings.model.backbone.image_size
    crop_pct = 1.0 if min(height, width) >= _UNCROPPED_SIDE else 0.875
    return evaluation_steps((height, width), mean=mean, std=std, crop_pct=crop_pct)
