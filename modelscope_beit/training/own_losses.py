"""Losses that a network computes itself, as those of mmcls do: checked and completed before the first step."""

from collections.abc import Mapping, Sequence
from typing import cast

from modelscope_beit.network.classifier import Classifier
from modelscope_beit.settings.losses import BALANCED, read_loss
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.training.losses import class_factors, refuse_single_label_loss


def prepare_own_losses(
    network: Classifier,
    mm_model: Mapping[str, object],
    class_counts: Sequence[int] | None,
    *,
    is_multi_label: bool,
) -> None:
    """Gives the network's loss the weights of the classes, if it wants balanced ones.

    class_counts: training samples of each class, where they are known. is_multi_label: whether pictures have several
    labels.
    Raises SettingsError if "balanced" has no counts, or if the loss has one right class per picture in mind and the
    data have several.
    """
    if is_multi_label and not network.is_multi_label:
        loss = cast(Mapping[str, Mapping[str, object]], mm_model["head"]).get("loss") or {"type": "CrossEntropyLoss"}
        # What it says is for mmcls to judge.
        refuse_single_label_loss(read_loss(Section(loss, "model.mm_model.head.loss", Problems())))
    for part in network.modules():
        if getattr(part, "class_weight", None) == BALANCED:
            weights = class_factors(BALANCED, network.settings.num_classes, class_counts)
            assert weights is not None, "balanced weights are numbers"
            part.class_weight = weights.tolist()  # type: ignore[assignment]
