"""The classification head. torch only."""

from torch import Tensor, nn

from modelscope_beit.settings.model import ModelSettings


class ClassificationHead(nn.Module):
    """From the pooled feature to the logits: one linear layer, named head.fc in a state dict.

    ViT before its transfer to fewer classes has a hidden layer with tanh first (head.pre_logits); a distilled DeiT
    has a second last layer for its second token (head.fc_dist), and the logits are the mean of the two.
    Source: ViT (arXiv 2010.11929), DeiT (arXiv 2012.12877); mmcls vision_transformer_head.py and deit_head.py.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width = settings.backbone.width
        self.pre_logits = self.fc_dist = None
        if settings.hidden_width is not None:
            self.pre_logits = nn.Linear(width, settings.hidden_width)
            width = settings.hidden_width
        self.fc = nn.Linear(width, settings.num_classes)
        if settings.backbone.pooling == "two_tokens":
            self.fc_dist = nn.Linear(width, settings.num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Returns logits (N, K) from features (N, C), or (N, 2, C) of two tokens."""
        if self.pre_logits is not None:
            features = self.pre_logits(features).tanh()
        if self.fc_dist is not None:
            mean: Tensor = (self.fc(features[:, 0]) + self.fc_dist(features[:, 1])) / 2
            return mean
        logits: Tensor = self.fc(features)
        return logits
