"""Our backbone for mmcls: registered as "BeitBackbone" when this module is imported, so a configuration says

    custom_imports = dict(imports=["modelscope_beit.openmmlab.backbone"])
    model = dict(backbone=dict(type="BeitBackbone", arch="base", use_rel_pos_bias=True, ...), head=dict(...), ...)

with the keywords of ModelScope's BEiTv2, and ours; see settings/mm_backbone.py. ModelScope's own keeps its name.
Imported only where mmcls is.
"""

from typing import Any

from mmcls.models.builder import BACKBONES
from mmcv.runner import BaseModule
from torch import Tensor, nn

from modelscope_beit.network.backbone import BeitBackbone
from modelscope_beit.network.classifier import initialise_backbone
from modelscope_beit.settings.mm_backbone import BEIT_IN_MMCLS, read_beit_v2
from modelscope_beit.settings.problems import Problems, Section


@BACKBONES.register_module(name=BEIT_IN_MMCLS)
class MmclsBeitBackbone(BeitBackbone, BaseModule):
    """BeitBackbone as heads of mmcls want it; its weights have the names that they have in our model folders.

    init_cfg: mmcv's, e.g. {"type": "Pretrained", "checkpoint": FILE, "prefix": "backbone"}.
    keywords: those of ModelScope's BEiTv2. Raises SettingsError that lists what is wrong with them.
    """

    def __init__(self, init_cfg: dict[str, Any] | None = None, **keywords: Any) -> None:
        problems = Problems()
        settings, _ = read_beit_v2(Section(keywords, "backbone", problems))
        problems.raise_if_any(BEIT_IN_MMCLS)
        assert settings is not None, "keywords without problems give settings"
        super().__init__(settings)
        self.init_cfg = init_cfg
        self.register_state_dict_post_hook(_without_index)

    def init_weights(self) -> None:
        """Gives the weights their values for training from scratch, or those of the file in init_cfg."""
        if not self.is_init:
            initialise_backbone(self)
        super().init_weights()

    def forward(self, images: Tensor) -> tuple[Tensor]:  # type: ignore[override]
        """Returns the pooled feature (N, C), as a tuple of one stage, of images (N, 3, H, W), float, normalised."""
        return (super().forward(images),)


def _without_index(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """Removes what the network computes anew: mmcv's runner saves all buffers, whether they are to be saved or not."""
    state.pop(f"{prefix}index", None)
