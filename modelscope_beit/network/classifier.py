"""The classifier: pictures to logits. torch only."""

import math

import torch
from torch import Tensor, nn

from modelscope_beit.names import HEAD_PREFIX
from modelscope_beit.network.backbone import BeitBackbone
from modelscope_beit.network.blocks import Block
from modelscope_beit.network.head import ClassificationHead
from modelscope_beit.settings.any_model import AnyModelSettings
from modelscope_beit.settings.model import ModelSettings


class Classifier(nn.Module):
    """A network from images (N, 3, H, W), float, normalised, to logits (N, K), whoever built it.

    computes_losses: whether it also gives the loss of each sample (N,) when it gets targets beside the images:
    networks of mmcls do, because some of its heads make losses of more than logits.
    is_multi_label: whether its probabilities are sigmoids of the logits, one for each class, and not a softmax.
    head_prefix: how the names of the weights begin that stand for the classes.
    """

    settings: AnyModelSettings
    computes_losses = False
    is_multi_label = False
    head_prefix = HEAD_PREFIX

    def pooled(self, images: Tensor) -> Tensor:
        """Returns what the head gets of each picture, as one feature, (N, C)."""
        # Not abstract: an exported network, which is a graph, has its logits and nothing else.
        raise NotImplementedError(f"{type(self).__name__} gives logits only; features need the model folder itself.")


class BeitClassifier(Classifier):
    """Backbone and head; its state dict has the layout of the stock ModelScope (mmcls) classifier."""

    settings: ModelSettings

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = BeitBackbone(settings.backbone)
        self.head = ClassificationHead(settings)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K), not probabilities, of images (N, 3, H, W), float, normalised.

        Raises ImageError if H or W is no multiple of the patch, naming both.
        """
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def pooled(self, images: Tensor) -> Tensor:
        """Returns what the head gets of each picture, (N, C); of a distilled network the mean of both its tokens."""
        pooled: Tensor = self.backbone(images)
        # So timm's feature is.
        return pooled.mean(dim=1) if pooled.ndim == 3 else pooled


def build_classifier(settings: ModelSettings, *, device: str | torch.device = "cpu") -> BeitClassifier:
    """Returns a fresh classifier, initialised as for fine-tuning.

    device: on "meta" nothing is allocated or initialised; weights are then assigned from a file.
    """
    with torch.device(device):
        classifier = BeitClassifier(settings)
    if torch.device(device).type != "meta":
        initialise(classifier)
    return classifier


def initialise(classifier: BeitClassifier) -> None:
    """Gives all weights their values for training from scratch; see initialise_backbone and initialise_head."""
    initialise_backbone(classifier.backbone)
    initialise_head(classifier.head, classifier.settings.head_init_scale)


@torch.no_grad()
def initialise_backbone(backbone: BeitBackbone) -> None:
    """Gives the weights below the head their values for training from scratch.

    Linear layers, the tokens before the patches and positions: normal with deviation 0.02; biases and
    relative-position tables 0; the output projections of block number l (from 1) divided by sqrt(2 l). The patch
    embedding keeps PyTorch's default. Source: unilm/beit2 modeling_finetune.py.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for token in (backbone.cls_token, backbone.dist_token, backbone.pos_embed):
        if token is not None:
            nn.init.trunc_normal_(token, std=0.02)
    for number, block in enumerate(backbone.blocks, start=1):
        assert isinstance(block, Block)
        block.attn.proj.weight.div_(math.sqrt(2 * number))
        block.mlp.fc2.weight.div_(math.sqrt(2 * number))


@torch.no_grad()
def initialise_head(head: ClassificationHead, scale: float) -> None:
    """Gives the head fresh weights, as for a new set of classes.

    Last layers: normal with deviation 0.02 times scale; a hidden layer: normal with deviation 1 / sqrt(C), as in
    mmcls. Biases 0.
    """
    if head.pre_logits is not None:
        nn.init.trunc_normal_(head.pre_logits.weight, std=head.pre_logits.in_features**-0.5)
        nn.init.zeros_(head.pre_logits.bias)
    for last in (head.fc, head.fc_dist):
        if last is not None:
            nn.init.trunc_normal_(last.weight, std=0.02)
            last.weight.mul_(scale)
            nn.init.zeros_(last.bias)
