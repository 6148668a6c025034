"""The network of BEiT v2's masked image modelling: hidden patches to visual tokens, twice. torch only.

Source: BEiT v2 (arXiv 2208.06366), section 2.3; unilm/beit2 modeling_pretrain.py. Letters: see network/blocks.py;
M patches hidden in each picture, V visual tokens.
"""

import math

import torch
from torch import Tensor, nn

from modelscope_beit.network.blocks import Block
from modelscope_beit.network.masked_image_model import MaskedImageModel
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings

_DEVIATION = 0.02


class MaskedPretrainingModel(MaskedImageModel):
    """A masked-image model with patch aggregation: extra blocks that guess from the class token and early patches.

    Because the patches of an early block know little of the whole picture, the class token has to. The extra blocks
    (`cls_pt_layers`) share norm, head and table of relative positions with the others, and are left behind afterwards.
    """

    def __init__(self, settings: MaskedPretrainingSettings) -> None:
        super().__init__(settings.model)
        self.pretraining = settings
        self.cls_pt_layers = nn.ModuleList(
            Block(settings.model.backbone, drop_path=rate) for rate in settings.extra_drop_paths()
        )

    def forward(self, images: Tensor, mask: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Returns logits (G, N, M, V) over the visual tokens of the hidden patches; G guesses, 2, or 1 without extras.

        The first guess is of the last block's patch tokens, the second of what the extra blocks make of the last
        block's class token and the early block's patch tokens. Both are normalised only before the head.
        images: (N, 3, H, W), normalised. mask: (N, P), bool, True where a patch is hidden, M times in each row.
        hidden: (N, M), int64, the numbers of the hidden patches, rising; found in the mask if they are not given, for
        which a GPU has to wait.
        Raises ImageError if images or mask have another shape than the other.
        """
        tokens, grid = self.embed(images, mask)
        if hidden is None:
            hidden = hidden_patches(mask)
        shared = self.backbone.shared_bias(grid)
        early = tokens
        for number, block in enumerate(self.backbone.blocks, start=1):
            tokens = self.backbone.run_block(block, tokens, shared, grid)
            if number == self.pretraining.early_layer:
                early = tokens
        guesses = [tokens]
        if self.cls_pt_layers:
            mixed = torch.cat([tokens[:, :1], early[:, 1:]], dim=1)
            for block in self.cls_pt_layers:
                mixed = self.backbone.run_block(block, mixed, shared, grid)
            guesses.append(mixed)
        # Only what is hidden goes through norm and head. Token 0 is the class token.
        places = (hidden + 1)[None, :, :, None].expand(len(guesses), -1, -1, tokens.shape[-1])
        chosen = torch.stack(guesses).gather(2, places)  # (G, N, M, C)
        assert self.backbone.norm is not None, "checked by the settings"
        logits: Tensor = self.lm_head(self.backbone.norm(chosen))
        return logits


def hidden_patches(mask: Tensor) -> Tensor:
    """Returns the numbers of the hidden patches (N, M), int64, rising, of a mask (N, P) with M of them in each row."""
    return mask.nonzero()[:, 1].view(len(mask), -1)


def build_masked_model(settings: MaskedPretrainingSettings) -> MaskedPretrainingModel:
    """Returns a fresh network, with unilm's values of the weights; see initialise."""
    network = MaskedPretrainingModel(settings)
    initialise(network)
    return network


@torch.no_grad()
def initialise(network: MaskedPretrainingModel) -> None:
    """Gives all weights their values for the start of masked image modelling.

    Linear layers, patch embedding and tokens: normal with deviation 0.02, cut at one deviation, so that the real one is
    0.0108; biases and relative-position table 0. The output projections of block number l (from 1) are divided by
    sqrt(2 l); extra block number j counts as block early_layer + j.
    The linear layers of the extra blocks otherwise keep PyTorch's own values: unilm makes these blocks after it has
    initialised the rest. Source: unilm/beit2 modeling_pretrain.py.
    """
    extra = {id(module) for module in network.cls_pt_layers.modules()}
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and id(module) not in extra:
            _cut_normal(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for token in (network.backbone.cls_token, network.mask_token, network.backbone.pos_embed):
        if token is not None:
            _cut_normal(token)
    numbered = [
        *enumerate(network.backbone.blocks, start=1),
        *enumerate(network.cls_pt_layers, start=network.pretraining.early_layer + 1),
    ]
    for number, block in numbered:
        assert isinstance(block, Block)
        block.attn.proj.weight.div_(math.sqrt(2 * number))
        block.mlp.fc2.weight.div_(math.sqrt(2 * number))


def _cut_normal(weight: Tensor) -> None:
    nn.init.trunc_normal_(weight, std=_DEVIATION, a=-_DEVIATION, b=_DEVIATION)
