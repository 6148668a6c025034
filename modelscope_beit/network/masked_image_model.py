"""The masked-image model: pictures with hidden patches to the visual tokens of all patches. torch only.

Source: BEiT (arXiv 2106.08254), section 2.3; unilm/beit modeling_pretrain.py; transformers BeitForMaskedImageModeling.
"""

import torch
from torch import Tensor, nn

from modelscope_beit.errors import ImageError
from modelscope_beit.network.backbone import BeitBackbone
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings


class MaskedImageModel(nn.Module):
    """Backbone with its final norm, a token that stands for hidden patches, and a linear layer over visual tokens.

    Fresh weights are PyTorch's own; the weights of a trained one come from a file.
    """

    def __init__(self, settings: MaskedImageModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = BeitBackbone(settings.backbone)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, settings.backbone.width))
        self.lm_head = nn.Linear(settings.backbone.width, settings.num_visual_tokens)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Returns logits (N, P, V) over the V visual tokens, of every patch, hidden or not.

        images: (N, 3, H, W), float, normalised. mask: (N, P), bool, patches row by row, True where one is hidden: its
        embedding gives way to the mask token before positions are added.
        Raises ImageError if H or W is no multiple of the patch, or the mask has another shape or type.
        """
        tokens, grid = self.embed(images, mask)
        tokens = self.backbone.run_blocks(tokens, grid)
        assert self.backbone.norm is not None, "checked by the settings"
        logits: Tensor = self.lm_head(self.backbone.norm(tokens[:, 1:]))
        return logits

    def embed(self, images: Tensor, mask: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Returns the tokens (N, T, C) that enter the first block, and the grid (rows, columns) of patches.

        images, mask, and what is raised: as for forward.
        """
        grid = self.backbone.grid_of(images)
        expected = (len(images), grid[0] * grid[1])
        if mask.shape != expected or mask.dtype != torch.bool:
            raise ImageError(
                f"Expected a mask of shape {expected}, bool, one value for each of {grid[0]}x{grid[1]} patches; got "
                f"shape {tuple(mask.shape)}, {mask.dtype}."
            )
        patches = self.backbone.patch_embed(images)
        patches = torch.where(mask[:, :, None], self.mask_token.to(patches.dtype), patches)
        return self.backbone.assemble(patches, grid), grid
