"""Teachers: frozen networks from pictures to one feature a patch, whoever built them. torch only."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.errors import ImageError, SettingsError


@dataclass(frozen=True)
class TeacherNetwork:
    """A network as its library built it, and all that must be known to ask it for features.

    patch_features: from normalised images to tokens (N, P, E) on the wanted grid, or a map (N, E, rows, columns).
    mean, std: of each channel for values in [0, 1]. size: (height, width) in pixels of what it gets.
    is_bgr: its channels are blue, green, red; mean and std are in that order then.
    """

    network: nn.Module
    patch_features: Callable[[Tensor], Tensor]
    mean: Sequence[float]
    std: Sequence[float]
    size: tuple[int, int]
    name: str
    is_bgr: bool = False


class Teacher(nn.Module):
    """Gives the features (N, P, E) of the patches of images (N, 3, H, W), float from 0 to 1, RGB; never trained.

    width: E. grid: (rows, columns) of patches. Images are resized to what the network takes (bicubic, antialiased) and
    normalised as it was trained; a map of another grid is resized too (bilinear, antialiased).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, found: TeacherNetwork, grid: tuple[int, int]) -> None:
        super().__init__()
        self.network = found.network
        self.grid, self.size, self.name = grid, found.size, found.name
        self._patch_features, self._is_bgr = found.patch_features, found.is_bgr
        self.register_buffer("mean", torch.tensor(list(found.mean))[:, None, None])
        self.register_buffer("std", torch.tensor(list(found.std))[:, None, None])
        self.requires_grad_(False).eval()
        self.width = int(self(torch.zeros(1, 3, *self.size)).shape[2])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Returns the features. Raises ImageError for bytes, SettingsError for a network without any of patches."""
        if not images.is_floating_point():
            raise ImageError(f"Expected images as floats from 0 to 1, got {images.dtype}.")
        if tuple(images.shape[2:]) != self.size:
            images = F.interpolate(images, self.size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        if self._is_bgr:
            images = images.flip(1)
        found = self._patch_features((images - self.mean) / self.std)
        if found.ndim == 4:
            if tuple(found.shape[2:]) != self.grid:
                found = F.interpolate(found.float(), self.grid, mode="bilinear", antialias=True, align_corners=False)
            return found.flatten(2).transpose(1, 2)
        if found.ndim != 3 or found.shape[1] != self.grid[0] * self.grid[1]:
            raise SettingsError(
                f"{self.name} gave features of shape {tuple(found.shape)} for {self.size[0]}x{self.size[1]} pixels, "
                f"but one for each of {self.grid[0]}x{self.grid[1]} patches is expected; choose another teacher."
            )
        return found

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in evaluation mode, whatever is asked."""
        return super().train(False)

    def digest(self) -> str:
        """Returns what tells this teacher from all others: of its weights, its size, its normalisation, the grid."""
        digest = hashlib.sha256(repr((self.name, self.size, self.grid, self._is_bgr)).encode())
        for key, tensor in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]
