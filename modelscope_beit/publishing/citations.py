"""BibTeX of the papers that a network comes from."""

from modelscope_beit.settings.any_model import AnyModelSettings
from modelscope_beit.settings.model import ModelSettings

_BEIT = """@inproceedings{beit,
  title = {{BEiT}: {BERT} Pre-Training of Image Transformers},
  author = {Hangbo Bao and Li Dong and Songhao Piao and Furu Wei},
  booktitle = {International Conference on Learning Representations},
  year = {2022},
  url = {https://openreview.net/forum?id=p-BhZSz59o4}
}"""
_BEIT_V2 = """@article{beitv2,
  title = {{BEiT} v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers},
  author = {Zhiliang Peng and Li Dong and Hangbo Bao and Qixiang Ye and Furu Wei},
  journal = {arXiv preprint arXiv:2208.06366},
  year = {2022},
  url = {https://arxiv.org/abs/2208.06366}
}"""


def citations(settings: AnyModelSettings) -> str:
    """Returns the entries of BEiT and BEiT v2 for networks of their kind, whose configurations do not differ.

    "" for every other network: whose it is, the configuration does not tell.
    """
    return f"{_BEIT}\n\n{_BEIT_V2}" if is_beit(settings) else ""


def is_beit(settings: AnyModelSettings) -> bool:
    """Tells BEiT's attention, which has no bias of its keys, from that of other vision transformers."""
    return isinstance(settings, ModelSettings) and settings.backbone.qkv_bias == "qv"
