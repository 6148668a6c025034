"""How others name the weights of a classifier: two-way tables, nothing else.

A row is `ours: theirs`. `{}` is the block number, `.*` stands for `.weight` and `.bias`, three of their names are the
rows of our weight cut into three equal parts (queries, keys, values). Ours is the stock ModelScope (mmcls) layout.

Sources: unilm/beit2 modeling_finetune.py and modeling_pretrain.py, timm models/beit.py and vision_transformer.py,
transformers models/beit, models/vit and models/deit (4.x names, which 5.x keeps in files, and the 5.x names in memory),
mmcls 0.25 and mmpretrain vision_transformer.py, deit.py, beit.py and their heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Theirs = str | tuple[str, str, str]
Table = dict[str, Theirs]


@dataclass(frozen=True)
class Layout:
    """One way to name the weights.

    title: what a person calls it. names: our pattern -> theirs. dropped: patterns (as in a shell) of their keys that
    a classifier has no use for. pretraining: the file is a masked-image model: it has no head and no pooling norm,
    and its one table serves all blocks. may_lack_pooling_norm: as in a BEiT that was saved without its pooler.
    marks: patterns of which a file of this layout has at least one.
    """

    name: str
    title: str
    names: Mapping[str, Theirs]
    dropped: tuple[str, ...] = ()
    pretraining: bool = False
    may_lack_pooling_norm: bool = False
    marks: tuple[str, ...] = ("*",)


# The index of pairs is computed anew; in a file it would be that of another resolution.
_INDEX = "*relative_position_index"

_BACKBONE: Table = {
    "backbone.cls_token": "cls_token",
    "backbone.pos_embed": "pos_embed",
    "backbone.patch_embed.proj.*": "patch_embed.proj.*",
    "backbone.rel_pos_bias.relative_position_bias_table": "rel_pos_bias.relative_position_bias_table",
    "backbone.norm.*": "norm.*",
    "backbone.fc_norm.*": "fc_norm.*",
}
_BLOCK: Table = {
    "backbone.blocks.{}.norm1.*": "blocks.{}.norm1.*",
    "backbone.blocks.{}.attn.qkv.weight": "blocks.{}.attn.qkv.weight",
    "backbone.blocks.{}.attn.proj.*": "blocks.{}.attn.proj.*",
    "backbone.blocks.{}.norm2.*": "blocks.{}.norm2.*",
    "backbone.blocks.{}.mlp.fc1.*": "blocks.{}.mlp.fc1.*",
    "backbone.blocks.{}.mlp.fc2.*": "blocks.{}.mlp.fc2.*",
}
_BEIT_BLOCK: Table = {
    "backbone.blocks.{}.attn.q_bias": "blocks.{}.attn.q_bias",
    "backbone.blocks.{}.attn.v_bias": "blocks.{}.attn.v_bias",
    "backbone.blocks.{}.attn.relative_position_bias_table": "blocks.{}.attn.relative_position_bias_table",
    "backbone.blocks.{}.gamma_1": "blocks.{}.gamma_1",
    "backbone.blocks.{}.gamma_2": "blocks.{}.gamma_2",
}
_FULL_QKV_BIAS: Table = {"backbone.blocks.{}.attn.qkv.bias": "blocks.{}.attn.qkv.bias"}
_HEAD: Table = {"head.fc.*": "head.*"}
_DISTILLED: Table = {"backbone.dist_token": "dist_token", "head.fc_dist.*": "head_dist.*"}
_HIDDEN_LAYER: Table = {"head.pre_logits.*": "head.layers.pre_logits.*"}

_MMPRETRAIN_BACKBONE: Table = {
    "backbone.cls_token": "backbone.cls_token",
    "backbone.pos_embed": "backbone.pos_embed",
    "backbone.patch_embed.proj.*": "backbone.patch_embed.projection.*",
    "backbone.norm.*": "backbone.ln1.*",
    "backbone.fc_norm.*": "backbone.ln2.*",
    "backbone.blocks.{}.norm1.*": "backbone.layers.{}.ln1.*",
    "backbone.blocks.{}.attn.qkv.weight": "backbone.layers.{}.attn.qkv.weight",
    "backbone.blocks.{}.attn.proj.*": "backbone.layers.{}.attn.proj.*",
    "backbone.blocks.{}.norm2.*": "backbone.layers.{}.ln2.*",
    "backbone.blocks.{}.mlp.fc1.*": "backbone.layers.{}.ffn.layers.0.0.*",
    "backbone.blocks.{}.mlp.fc2.*": "backbone.layers.{}.ffn.layers.1.*",
}
_MMPRETRAIN_BEIT: Table = {
    "backbone.rel_pos_bias.relative_position_bias_table": "backbone.rel_pos_bias.relative_position_bias_table",
    "backbone.blocks.{}.attn.q_bias": "backbone.layers.{}.attn.q_bias",
    "backbone.blocks.{}.attn.v_bias": "backbone.layers.{}.attn.v_bias",
    "backbone.blocks.{}.attn.relative_position_bias_table": "backbone.layers.{}.attn.relative_position_bias_table",
    "backbone.blocks.{}.gamma_1": "backbone.layers.{}.gamma_1",
    "backbone.blocks.{}.gamma_2": "backbone.layers.{}.gamma_2",
}

_TRANSFORMERS_EMBEDDINGS: Table = {
    "backbone.cls_token": "embeddings.cls_token",
    "backbone.pos_embed": "embeddings.position_embeddings",
    "backbone.patch_embed.proj.*": "embeddings.patch_embeddings.projection.*",
    "backbone.norm.*": "layernorm.*",
}
_TRANSFORMERS_BLOCK: Table = {
    "backbone.blocks.{}.norm1.*": "encoder.layer.{}.layernorm_before.*",
    "backbone.blocks.{}.attn.qkv.weight": (
        "encoder.layer.{}.attention.attention.query.weight",
        "encoder.layer.{}.attention.attention.key.weight",
        "encoder.layer.{}.attention.attention.value.weight",
    ),
    "backbone.blocks.{}.attn.proj.*": "encoder.layer.{}.attention.output.dense.*",
    "backbone.blocks.{}.norm2.*": "encoder.layer.{}.layernorm_after.*",
    "backbone.blocks.{}.mlp.fc1.*": "encoder.layer.{}.intermediate.dense.*",
    "backbone.blocks.{}.mlp.fc2.*": "encoder.layer.{}.output.dense.*",
}
_TRANSFORMERS_BEIT: Table = {
    "backbone.fc_norm.*": "pooler.layernorm.*",
    "backbone.rel_pos_bias.relative_position_bias_table": (
        "encoder.relative_position_bias.relative_position_bias_table"
    ),
    "backbone.blocks.{}.attn.q_bias": "encoder.layer.{}.attention.attention.query.bias",
    "backbone.blocks.{}.attn.v_bias": "encoder.layer.{}.attention.attention.value.bias",
    "backbone.blocks.{}.attn.relative_position_bias_table": (
        "encoder.layer.{}.attention.attention.relative_position_bias.relative_position_bias_table"
    ),
    "backbone.blocks.{}.gamma_1": "encoder.layer.{}.lambda_1",
    "backbone.blocks.{}.gamma_2": "encoder.layer.{}.lambda_2",
}
_TRANSFORMERS_VIT: Table = {
    "backbone.blocks.{}.attn.qkv.bias": (
        "encoder.layer.{}.attention.attention.query.bias",
        "encoder.layer.{}.attention.attention.key.bias",
        "encoder.layer.{}.attention.attention.value.bias",
    ),
}
_MEMORY_BLOCK: Table = {
    "backbone.blocks.{}.norm1.*": "layers.{}.layernorm_before.*",
    "backbone.blocks.{}.attn.qkv.weight": (
        "layers.{}.attention.q_proj.weight",
        "layers.{}.attention.k_proj.weight",
        "layers.{}.attention.v_proj.weight",
    ),
    "backbone.blocks.{}.attn.proj.*": "layers.{}.attention.o_proj.*",
    "backbone.blocks.{}.norm2.*": "layers.{}.layernorm_after.*",
    "backbone.blocks.{}.mlp.fc1.*": "layers.{}.mlp.fc1.*",
    "backbone.blocks.{}.mlp.fc2.*": "layers.{}.mlp.fc2.*",
}
_MEMORY_BEIT: Table = {
    "backbone.fc_norm.*": "pooler.layernorm.*",
    "backbone.rel_pos_bias.relative_position_bias_table": "shared_position_bias.relative_position_bias_table",
    "backbone.blocks.{}.attn.q_bias": "layers.{}.attention.q_proj.bias",
    "backbone.blocks.{}.attn.v_bias": "layers.{}.attention.v_proj.bias",
    "backbone.blocks.{}.attn.relative_position_bias_table": (
        "layers.{}.relative_position_bias.relative_position_bias_table"
    ),
    "backbone.blocks.{}.gamma_1": "layers.{}.lambda_1",
    "backbone.blocks.{}.gamma_2": "layers.{}.lambda_2",
}
_MEMORY_VIT: Table = {
    "backbone.blocks.{}.attn.qkv.bias": (
        "layers.{}.attention.q_proj.bias",
        "layers.{}.attention.k_proj.bias",
        "layers.{}.attention.v_proj.bias",
    ),
}
_TRANSFORMERS_DISTILLATION: Table = {"backbone.dist_token": "embeddings.distillation_token"}
_CLASSIFIER: Table = {"head.fc.*": "classifier.*"}
_TWO_CLASSIFIERS: Table = {"head.fc.*": "cls_classifier.*", "head.fc_dist.*": "distillation_classifier.*"}


def _below(prefix: str, names: Mapping[str, Theirs]) -> Table:
    """Returns the table with a prefix before each of their names."""
    return {
        ours: prefix + theirs
        if isinstance(theirs, str)
        else (prefix + theirs[0], prefix + theirs[1], prefix + theirs[2])
        for ours, theirs in names.items()
    }


def _both(names: Mapping[str, Theirs]) -> Table:
    """Returns the table with every `.*` written out as `.weight` and `.bias`."""
    written_out: Table = {}
    for ours, theirs in names.items():
        if ours.endswith(".*"):
            assert isinstance(theirs, str) and theirs.endswith(".*"), f"{ours} and {theirs} must both end with .*"
            for kind in ("weight", "bias"):
                written_out[ours[:-1] + kind] = theirs[:-1] + kind
        else:
            written_out[ours] = theirs
    return written_out


def _same(names: Mapping[str, Theirs]) -> Table:
    """Returns the table in which they have our names."""
    return {ours: ours for ours in names}


# transformers names a model with a head `beit.` + a model without one.
_BEIT_FILE: Table = _TRANSFORMERS_EMBEDDINGS | _TRANSFORMERS_BLOCK | _TRANSFORMERS_BEIT
_BEIT_MEMORY: Table = _TRANSFORMERS_EMBEDDINGS | _MEMORY_BLOCK | _MEMORY_BEIT
# The parts of a masked-image model that have a place in ours; a classifier drops them.
_TRANSFORMERS_MASKING: Table = {
    "backbone.norm.*": "layernorm.*",
    "mask_token": "beit.embeddings.mask_token",
    "lm_head.*": "lm_head.*",
}
_VIT_FILE: Table = _TRANSFORMERS_EMBEDDINGS | _TRANSFORMERS_BLOCK | _TRANSFORMERS_VIT
_VIT_MEMORY: Table = _TRANSFORMERS_EMBEDDINGS | _MEMORY_BLOCK | _MEMORY_VIT
_DEIT_FILE: Table = _VIT_FILE | _TRANSFORMERS_DISTILLATION
_DEIT_MEMORY: Table = _VIT_MEMORY | _TRANSFORMERS_DISTILLATION

MODELSCOPE = Layout(
    "modelscope",
    "ModelScope (mmcls) classifier",
    _both(_same(_BACKBONE | _BLOCK | _BEIT_BLOCK | _FULL_QKV_BIAS | _HEAD | _DISTILLED | _HIDDEN_LAYER)),
    dropped=(_INDEX,),
)
UNILM = Layout("unilm", "unilm or timm BEiT", _both(_BACKBONE | _BLOCK | _BEIT_BLOCK | _HEAD), dropped=(_INDEX,))
UNILM_PRETRAINING = Layout(
    "unilm-pretraining",
    "unilm BEiT masked-image model",
    _both(_BACKBONE | _BLOCK | _BEIT_BLOCK),
    dropped=(_INDEX, "mask_token", "norm.*", "lm_head.*", "cls_pt_layers.*"),
    pretraining=True,
    marks=("mask_token", "lm_head.*"),
)
TIMM_VIT = Layout(
    "timm-vit",
    "timm ViT or DeiT",
    _both(
        _BACKBONE
        | _BLOCK
        | _FULL_QKV_BIAS
        | _HEAD
        | _DISTILLED
        | {"backbone.blocks.{}.gamma_1": "blocks.{}.ls1.gamma", "backbone.blocks.{}.gamma_2": "blocks.{}.ls2.gamma"}
    ),
)
TRANSFORMERS_BEIT = Layout(
    "transformers-beit",
    "transformers BEiT",
    _both(_below("beit.", _BEIT_FILE) | _CLASSIFIER),
    dropped=(_INDEX, "beit.embeddings.mask_token"),
)
TRANSFORMERS_BEIT_MEMORY = Layout(
    "transformers-beit-memory",
    "transformers 5 BEiT, names in memory",
    _both(_below("beit.", _BEIT_MEMORY) | _CLASSIFIER),
    dropped=("beit.embeddings.mask_token",),
)
TRANSFORMERS_BEIT_BARE = Layout(
    "transformers-beit-bare",
    "transformers BEiT without a classifier",
    _both(_BEIT_FILE),
    dropped=(_INDEX, "embeddings.mask_token"),
    may_lack_pooling_norm=True,
)
TRANSFORMERS_BEIT_BARE_MEMORY = Layout(
    "transformers-beit-bare-memory",
    "transformers 5 BEiT without a classifier, names in memory",
    _both(_BEIT_MEMORY),
    dropped=("embeddings.mask_token",),
    may_lack_pooling_norm=True,
)
_TRANSFORMERS_LEFTOVERS = (_INDEX, "beit.embeddings.mask_token", "layernorm.*", "lm_head.*")
TRANSFORMERS_BEIT_PRETRAINING = Layout(
    "transformers-beit-pretraining",
    "transformers BEiT masked-image model",
    _both(_below("beit.", _BEIT_FILE) | _TRANSFORMERS_MASKING),
    dropped=_TRANSFORMERS_LEFTOVERS,
    pretraining=True,
    marks=("beit.embeddings.mask_token", "lm_head.*"),
)
TRANSFORMERS_BEIT_PRETRAINING_MEMORY = Layout(
    "transformers-beit-pretraining-memory",
    "transformers 5 BEiT masked-image model, names in memory",
    _both(_below("beit.", _BEIT_MEMORY) | _TRANSFORMERS_MASKING),
    dropped=_TRANSFORMERS_LEFTOVERS,
    pretraining=True,
    marks=("beit.embeddings.mask_token", "lm_head.*"),
)
TRANSFORMERS_VIT = Layout(
    "transformers-vit", "transformers ViT (and plain DeiT)", _both(_below("vit.", _VIT_FILE) | _CLASSIFIER)
)
TRANSFORMERS_VIT_MEMORY = Layout(
    "transformers-vit-memory",
    "transformers 5 ViT, names in memory",
    _both(_below("vit.", _VIT_MEMORY) | _CLASSIFIER),
)
TRANSFORMERS_VIT_BARE = Layout(
    "transformers-vit-bare",
    "transformers ViT or DeiT without a classifier",
    _both(_DEIT_FILE),
    dropped=("pooler.dense.*",),
)
TRANSFORMERS_VIT_BARE_MEMORY = Layout(
    "transformers-vit-bare-memory",
    "transformers 5 ViT or DeiT without a classifier, names in memory",
    _both(_DEIT_MEMORY),
    dropped=("pooler.dense.*",),
)
# With one classifier it sees the class token only.
TRANSFORMERS_DEIT = Layout(
    "transformers-deit", "transformers distilled DeiT", _both(_below("deit.", _DEIT_FILE) | _TWO_CLASSIFIERS)
)
TRANSFORMERS_DEIT_MEMORY = Layout(
    "transformers-deit-memory",
    "transformers 5 distilled DeiT, names in memory",
    _both(_below("deit.", _DEIT_MEMORY) | _TWO_CLASSIFIERS),
)
TRANSFORMERS_DEIT_ONE = Layout(
    "transformers-deit-one-classifier",
    "transformers distilled DeiT with one classifier",
    _both(_below("deit.", _DEIT_FILE) | _CLASSIFIER),
)
TRANSFORMERS_DEIT_ONE_MEMORY = Layout(
    "transformers-deit-one-classifier-memory",
    "transformers 5 distilled DeiT with one classifier, names in memory",
    _both(_below("deit.", _DEIT_MEMORY) | _CLASSIFIER),
)
MMPRETRAIN_BEIT = Layout(
    "mmpretrain-beit",
    "mmpretrain BEiT classifier",
    _both(_MMPRETRAIN_BACKBONE | _MMPRETRAIN_BEIT | {"head.fc.*": "head.fc.*"}),
    dropped=(_INDEX,),
)
MMCLS_VIT = Layout(
    "mmcls-vit",
    "mmcls or mmpretrain ViT or DeiT classifier",
    _both(
        _MMPRETRAIN_BACKBONE
        | _HIDDEN_LAYER
        | {
            "backbone.dist_token": "backbone.dist_token",
            "backbone.blocks.{}.attn.qkv.bias": "backbone.layers.{}.attn.qkv.bias",
            "head.fc.*": "head.layers.head.*",
            "head.fc_dist.*": "head.layers.head_dist.*",
        }
    ),
)

LAYOUTS = {
    layout.name: layout
    for layout in (
        MODELSCOPE,
        UNILM,
        UNILM_PRETRAINING,
        TIMM_VIT,
        TRANSFORMERS_BEIT,
        TRANSFORMERS_BEIT_MEMORY,
        TRANSFORMERS_BEIT_BARE,
        TRANSFORMERS_BEIT_BARE_MEMORY,
        TRANSFORMERS_BEIT_PRETRAINING,
        TRANSFORMERS_BEIT_PRETRAINING_MEMORY,
        TRANSFORMERS_VIT,
        TRANSFORMERS_VIT_MEMORY,
        TRANSFORMERS_VIT_BARE,
        TRANSFORMERS_VIT_BARE_MEMORY,
        TRANSFORMERS_DEIT,
        TRANSFORMERS_DEIT_MEMORY,
        TRANSFORMERS_DEIT_ONE,
        TRANSFORMERS_DEIT_ONE_MEMORY,
        MMPRETRAIN_BEIT,
        MMCLS_VIT,
    )
}
