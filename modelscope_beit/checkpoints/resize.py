"""Makes weights fit pictures of another size. torch only."""

from collections.abc import Mapping

from torch import Tensor

from modelscope_beit.network.absolute_position import resize_position_embedding
from modelscope_beit.network.relative_position import resize_table
from modelscope_beit.settings.model import ModelSettings


def resize_weights(
    tensors: Mapping[str, Tensor], settings: ModelSettings, image_size: tuple[int, int]
) -> tuple[ModelSettings, dict[str, Tensor]]:
    """Returns settings and weights (our names) for another (height, width) in pixels.

    Relative-position tables follow settings.backbone.table_resize, position embeddings are interpolated bicubically;
    everything else, the patch embedding too, stays as it is.
    Raises SettingsError if the size is no multiple of the patch.
    """
    resized = settings.with_image_size(*image_size)
    source, target = settings.backbone.grid, resized.backbone.grid
    if source == target:
        return resized, dict(tensors)
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key.endswith("relative_position_bias_table"):
            found[key] = resize_table(tensor, source, target, settings.backbone.table_resize)
        elif key == "backbone.pos_embed":
            found[key] = resize_position_embedding(tensor, source, target)
        else:
            found[key] = tensor
    return resized, found
