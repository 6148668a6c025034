"""The tokenizer of BEiT v2: pictures to the numbers of codes, and from these to a teacher's features. torch only.

Source: BEiT v2 (arXiv 2208.06366), section 2.2; unilm/beit2 modeling_vqkd.py. Letters: see network/blocks.py; here K is
the number of codes, D the channels of one, E those of the teacher's features.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.errors import ImageError
from modelscope_beit.network.backbone import BeitBackbone
from modelscope_beit.network.classifier import initialise_backbone
from modelscope_beit.pretraining.codebook import Codebook, Quantized
from modelscope_beit.settings.tokenizer import TokenizerSettings


@dataclass(frozen=True)
class Tokenized:
    """What the tokenizer makes of pictures. reconstruction: (N, P, E), float32, the guess at the teacher's features."""

    quantized: Quantized
    reconstruction: Tensor


class Tokenizer(nn.Module):
    """Encoder, codebook and decoder. Its codes change by `codebook.learn` only, whatever mode it is in.

    Fresh weights are those of unilm; torch's generator draws.
    """

    def __init__(self, settings: TokenizerSettings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = BeitBackbone(settings.encoder)
        self.encode_task_layer = _task_layer(settings.width, settings.codebook.code_width)
        self.codebook = Codebook(settings.codebook)
        self.decoder = BeitBackbone(settings.decoder)
        self.decode_task_layer = _task_layer(settings.width, settings.target_width)
        initialise_backbone(self.encoder)
        initialise_backbone(self.decoder)

    def forward(self, images: Tensor) -> Tokenized:
        """Returns codes and reconstruction of images (N, 3, H, W), float from 0 to 1, RGB.

        Raises ImageError for pictures of another size or of whole numbers.
        """
        quantized = self.codebook(self.encode(images))
        return Tokenized(quantized, self.decode(quantized.vectors))

    def encode(self, images: Tensor) -> Tensor:
        """Returns the features (N, P, D), of any length, that codes are chosen for; images as for forward."""
        return _in_full(self.encode_task_layer, self.encoder_tokens(images))

    def encoder_tokens(self, images: Tensor) -> Tensor:
        """Returns what the encoder makes of each patch, normalised, (N, P, C); images as for forward."""
        expected = self.settings.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, *expected) or not images.is_floating_point():
            raise ImageError(
                f"Expected images (N, 3, {expected[0]}, {expected[1]}), float from 0 to 1; got {tuple(images.shape)}, "
                f"{images.dtype}."
            )
        return _patch_tokens(self.encoder, images * 2 - 1)

    def decode(self, vectors: Tensor) -> Tensor:
        """Returns the reconstruction (N, P, E) from code vectors (N, P, D)."""
        grid = self.settings.encoder.grid
        code_map = vectors.transpose(1, 2).unflatten(2, grid)  # (N, D, rows, columns)
        return _in_full(self.decode_task_layer, _patch_tokens(self.decoder, code_map))

    @torch.no_grad()
    def tokenize(self, images: Tensor) -> Tensor:
        """Returns the code numbers (N, P), int64, patches row by row; images as for forward."""
        numbers: Tensor = self.codebook(self.encode(images)).numbers
        return numbers


def reconstruction_cosine(reconstruction: Tensor, targets: Tensor) -> Tensor:
    """Returns the cosine (N, P) between reconstruction and teacher's features, both (N, P, E)."""
    return F.cosine_similarity(reconstruction, targets.to(reconstruction.dtype), dim=-1)


def tokenizer_loss(tokenized: Tokenized, targets: Tensor) -> Tensor:
    """Returns the loss (): 1 - the mean cosine to the teacher's features (N, P, E), plus the commitment."""
    return 1 - reconstruction_cosine(tokenized.reconstruction, targets).mean() + tokenized.quantized.commitment


def _task_layer(width: int, out: int) -> nn.Sequential:
    first, last = nn.Linear(width, width), nn.Linear(width, out)
    for layer in (first, last):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.Tanh(), last)


def _patch_tokens(backbone: BeitBackbone, images: Tensor) -> Tensor:
    """Returns the tokens (N, P, C) of the patches, each normalised by the norm that elsewhere follows their mean."""
    tokens, grid = backbone.embed(images)
    assert backbone.fc_norm is not None, "the tokenizer's settings pool by the mean"
    normalised: Tensor = backbone.fc_norm(backbone.run_blocks(tokens, grid)[:, 1:])
    return normalised


def _in_full(layer: nn.Sequential, tokens: Tensor) -> Tensor:
    """Returns the layer's output computed in the precision of its weights, without autocast."""
    last = layer[-1]
    assert isinstance(last, nn.Linear)
    with torch.autocast(tokens.device.type, enabled=False):
        output: Tensor = layer(tokens.to(last.weight.dtype))
    return output
