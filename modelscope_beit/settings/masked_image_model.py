"""What a masked-image model looks like: BEiT before it learns classes. Standard library only."""

from dataclasses import dataclass, field

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.model import BackboneSettings

# Codes of the tokenizers of BEiT and BEiT v2.
NUM_VISUAL_TOKENS = 8192


def _published_backbone() -> BackboneSettings:
    return BackboneSettings(relative_position="shared", pooling="class_token")


@dataclass(frozen=True)
class MaskedImageModelSettings:
    """Settings of a masked-image model: the backbone and how many visual tokens there are to choose from.

    backbone: the default is BEiT base, whose blocks share one table of relative positions. Its final norm is that of
    all tokens, so its pooling is "class_token".
    """

    backbone: BackboneSettings = field(default_factory=_published_backbone)
    num_visual_tokens: int = NUM_VISUAL_TOKENS

    def __post_init__(self) -> None:
        """Raises SettingsError for a backbone without a norm of all tokens, with two tokens, or no visual token."""
        if self.backbone.pooling != "class_token" or self.backbone.distilled:
            raise SettingsError(
                "The backbone of a masked-image model has pooling class_token, a norm of all tokens, and is not "
                f"distilled; not pooling {self.backbone.pooling}, distilled {self.backbone.distilled}."
            )
        if self.num_visual_tokens < 1:
            raise SettingsError(f"num_visual_tokens must be at least 1, not {self.num_visual_tokens}.")
