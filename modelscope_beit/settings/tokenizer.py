"""What the tokenizer of BEiT v2 (VQ-KD) looks like: sizes and choices, no tensors. Standard library only.

Source: BEiT v2 (arXiv 2208.06366), section 2.2; unilm/beit2 modeling_vqkd.py and norm_ema_quantizer.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.from_mapping import mapping_of, settings_from
from modelscope_beit.settings.model import ARCHITECTURES, BackboneSettings

CodebookStart = Literal["kmeans", "random"]
_STARTS = ("kmeans", "random")


@dataclass(frozen=True)
class CodebookSettings:
    """Settings of the codebook; the defaults are the published ones.

    num_codes: vectors to choose from. code_width: channels of each. decay: what a code keeps of itself in a step.
    commitment: factor on the mean squared distance, over all channels, between a feature and its code.
    start: "kmeans" on the features of the first batch, or "random" directions.
    revive_after: steps without a feature after which a code is moved onto a feature of the batch; None, as published:
        it stays where it is.
    """

    num_codes: int = 8192
    code_width: int = 32
    decay: float = 0.99
    commitment: float = 1.0
    start: CodebookStart = "kmeans"
    revive_after: int | None = None

    def problems(self) -> list[str]:
        """Returns a clause for each value that cannot be used."""
        found = [
            f"codebook.{name} must be at least 1, not {getattr(self, name)}"
            for name in ("num_codes", "code_width")
            if getattr(self, name) < 1
        ]
        if not 0.0 <= self.decay < 1.0:
            found.append(f"codebook.decay must be in [0, 1), not {self.decay}")
        if self.commitment < 0.0:
            found.append(f"codebook.commitment must be 0 or more, not {self.commitment}")
        if self.start not in _STARTS:
            found.append(f"codebook.start must be one of {', '.join(_STARTS)}, not {self.start!r}")
        if self.revive_after is not None and self.revive_after < 1:
            found.append(f"codebook.revive_after must be at least 1, or null, not {self.revive_after}")
        return found


@dataclass(frozen=True)
class TokenizerSettings:
    """Settings of the tokenizer; the defaults are vqkd_encoder_base_decoder_3x768x12 with CLIP ViT-B/16 as teacher.

    image_size: (height, width) in pixels. width, num_heads, mlp_hidden: of encoder and decoder alike.
    target_width: channels of the teacher's features, which the decoder learns to give.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    num_heads: int = 12
    mlp_hidden: int = 3072
    encoder_depth: int = 12
    decoder_depth: int = 3
    target_width: int = 512
    codebook: CodebookSettings = field(default_factory=CodebookSettings)
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every value that cannot be used."""
        problems = self.codebook.problems()
        if self.target_width < 1:
            problems.append(f"target_width must be at least 1, not {self.target_width}")
        for name in ("encoder_depth", "decoder_depth"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1, not {getattr(self, name)}")
        if problems:
            raise SettingsError("The tokenizer cannot be built: " + "; ".join(problems) + ".")
        # What is wrong with both transformers, the encoder tells.
        _ = self.encoder

    @property
    def encoder(self) -> BackboneSettings:
        """From pictures to a token for each patch: a ViT with absolute positions, without a bias of the keys."""
        return self._transformer(self.image_size, self.patch_size, 3, self.encoder_depth)

    @property
    def decoder(self) -> BackboneSettings:
        """From the map of codes, a patch each, to as many tokens."""
        return self._transformer(self.encoder.grid, 1, self.codebook.code_width, self.decoder_depth)

    @property
    def num_patches(self) -> int:
        """Tokens of a picture."""
        rows, columns = self.encoder.grid
        return rows * columns

    def _transformer(self, image_size: tuple[int, int], patch: int, channels: int, depth: int) -> BackboneSettings:
        return BackboneSettings(
            image_size=image_size,
            patch_size=patch,
            in_channels=channels,
            width=self.width,
            depth=depth,
            num_heads=self.num_heads,
            mlp_hidden=self.mlp_hidden,
            relative_position="none",
            absolute_position=True,
            layer_scale_init=None,
            pooling="mean",
            gradient_checkpointing=self.gradient_checkpointing,
        )


@dataclass(frozen=True)
class CropSettings:
    """How pictures are cut for the tokenizer and its teacher, who see the same pixels; the defaults are the published.

    scale: smallest and largest share of the picture's area. ratio: of width to height. flip: probability of the mirror
    image. fixed: always the middle instead, so that each picture has the same pixels in every epoch.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    fixed: bool = False

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every value that cannot be used."""
        problems = []
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            problems.append(f"scale must be two rising shares of the area, up to 1, not {list(self.scale)}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            problems.append(f"ratio must be two rising numbers above 0, not {list(self.ratio)}")
        if not 0 <= self.flip <= 1:
            problems.append(f"flip must be a probability, not {self.flip}")
        if problems:
            raise SettingsError("Pictures cannot be cut: " + "; ".join(problems) + ".")

    def check_cache(self, *, is_wanted: bool) -> None:
        """Raises SettingsError if features are to be kept for crops that never come again."""
        if is_wanted and not self.fixed:
            raise SettingsError(
                "The teacher's features can be kept for fixed crops only: a random crop never comes again, so the "
                "cache would fill the disk and never be used. Set fixed crops, or do without the cache."
            )


def tokenizer_settings_from(mapping: Mapping[str, object], where: str) -> TokenizerSettings:
    """Returns the settings that a section of a configuration gives; what is absent has the published value.

    where: the file, for messages. A key `size` stands for width, heads, hidden channels and encoder_depth of an
    architecture. Raises SettingsError that lists everything that is wrong, keys that nobody knows too.
    """
    return settings_from(with_size(mapping), TokenizerSettings, where=f"{where}, tokenizer")


def with_size(mapping: Mapping[str, object]) -> dict[str, object]:
    """Returns the section with the numbers of its `size` in place of that word, where it does not say others.

    Raises SettingsError for a size that nobody knows.
    """
    size = mapping.get("size", "base")
    if not isinstance(size, str) or size not in ARCHITECTURES:
        raise SettingsError(f"tokenizer.size is {size!r}, but one of {', '.join(ARCHITECTURES)} is expected.")
    found = ARCHITECTURES[size]
    numbers: dict[str, object] = {
        "width": found.width,
        "num_heads": found.num_heads,
        "mlp_hidden": found.mlp_hidden,
        "encoder_depth": found.depth,
    }
    return numbers | {name: value for name, value in mapping.items() if name != "size"}


def write_tokenizer_settings(settings: TokenizerSettings) -> dict[str, object]:
    """Returns the settings as JSON takes them; tokenizer_settings_from reads the same back."""
    return mapping_of(settings)
