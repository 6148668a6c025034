"""The classification head. torch only."""

from torch import Tensor, nn


class LinearHead(nn.Module):
    """One linear layer from the pooled feature to the logits; its name in a state dict is head.fc."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Returns logits (N, K) from features (N, C)."""
        logits: Tensor = self.fc(features)
        return logits
