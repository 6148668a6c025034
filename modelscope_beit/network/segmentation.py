"""Semantic segmentation: pictures to a map of logits, by BEiT and a UPerNet head. torch only.

Sources: UPerNet (arXiv 1807.10221); BEiT (arXiv 2106.08254), section 3.2; transformers' BeitForSemanticSegmentation.
Letters: see blocks.py; rows and columns are those of the patches.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.errors import ImageError
from modelscope_beit.network.backbone import BeitBackbone
from modelscope_beit.settings.segmentation import NUM_FEATURE_MAPS, SegmentationSettings


class SegmentationNetwork(nn.Module):
    """Backbone, neck and head; for inference: batch norm uses its running statistics in eval mode only."""

    def __init__(self, settings: SegmentationSettings) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = BeitBackbone(settings.backbone)
        # The head sees tokens as they leave the blocks: nothing is pooled and no last norm is computed.
        self.backbone.norm = self.backbone.fc_norm = None
        self.neck = FourScales(settings.backbone.width)
        self.head = UperHead(settings)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K, 4 rows, 4 columns) of images (N, 3, H, W), float, normalised.

        Raises ImageError if H or W is no multiple of the patch, or less than two patches.
        """
        maps = self.backbone.maps(images, self.settings.feature_blocks)
        if min(maps[0].shape[2:]) < 2:
            height, width = images.shape[2:]
            raise ImageError(
                f"Expected at least two patches of {self.settings.backbone.patch_size} pixels along each side, "
                f"got {height}x{width} pixels."
            )
        logits: Tensor = self.head(self.neck(maps))
        return logits


class FourScales(nn.Module):
    """Makes a pyramid of four maps of one size: 4 times and 2 times as many rows and columns, as many, half as many."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up4_first = nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)
        self.up4_norm = nn.BatchNorm2d(width)
        self.up4_last = nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)
        self.up2 = nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Returns four maps, the finest first, from four maps (N, C, rows, columns); half of an odd number is less."""
        first, second, third, last = maps
        finest = self.up4_last(F.gelu(self.up4_norm(self.up4_first(first))))
        return [finest, self.up2(second), third, F.max_pool2d(last, kernel_size=2)]


class Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU; rows and columns stay."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Returns (N, out_channels, rows, columns) from (N, in_channels, rows, columns)."""
        return F.relu(self.norm(self.kernel(features)))


class UperHead(nn.Module):
    """Fuses a pyramid of maps from the coarsest to the finest, which has seen pooled maps of the whole picture.

    Source: UPerNet, section 3.1 and figure 4: PSPNet's pyramid pooling on top of a feature pyramid network.
    """

    def __init__(self, settings: SegmentationSettings) -> None:
        super().__init__()
        width, channels, scales = settings.backbone.width, settings.channels, settings.pool_scales
        self.pool_scales = scales
        self.pooled = nn.ModuleList(Convolution(width, channels, 1) for _ in scales)
        self.top = Convolution(width + len(scales) * channels, channels, 3)
        finer = range(NUM_FEATURE_MAPS - 1)
        self.lateral = nn.ModuleList(Convolution(width, channels, 1) for _ in finer)
        self.smooth = nn.ModuleList(Convolution(channels, channels, 3) for _ in finer)
        self.fusion = Convolution(NUM_FEATURE_MAPS * channels, channels, 3)
        self.classifier = nn.Conv2d(channels, settings.num_classes, kernel_size=1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Returns logits (N, K, ...) at the size of the finest map, from four maps (N, C, ...), the finest first."""
        *finer, coarsest = pyramid
        laterals = [convolution(features) for convolution, features in zip(self.lateral, finer, strict=True)]
        laterals.append(self._with_pooled(coarsest))
        for place in range(len(finer), 0, -1):
            laterals[place - 1] = laterals[place - 1] + resize_map(laterals[place], laterals[place - 1].shape[2:])
        outputs = [convolution(features) for convolution, features in zip(self.smooth, laterals, strict=False)]
        outputs.append(laterals[-1])
        finest = outputs[0].shape[2:]
        fused = self.fusion(torch.cat([resize_map(output, finest) for output in outputs], dim=1))
        logits: Tensor = self.classifier(fused)
        return logits

    def _with_pooled(self, coarsest: Tensor) -> Tensor:
        """Returns the coarsest map that has seen its means over the cells of coarse grids, such as the whole map."""
        parts = [coarsest]
        for scale, convolution in zip(self.pool_scales, self.pooled, strict=True):
            means = convolution(F.adaptive_avg_pool2d(coarsest, scale))  # (N, C, scale, scale)
            parts.append(resize_map(means, coarsest.shape[2:]))
        top: Tensor = self.top(torch.cat(parts, dim=1))
        return top


def resize_map(features: Tensor, size: Sequence[int]) -> Tensor:
    """Returns (N, C, *size) from (N, C, rows, columns), bilinear; the maps' edges lie together, not their centres."""
    if features.shape[2:] == torch.Size(size):
        return features
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)
