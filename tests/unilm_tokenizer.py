"""The keys of unilm's released tokenizers, written out as facts of that layout, with random values of any size."""

import torch
from torch import Tensor


def released_tensors(
    *, width: int = 64, hidden: int = 128, depths: tuple[int, int] = (2, 1), side: int = 4, patch: int = 8,
    codes: int = 24, code_width: int = 8, target_width: int = 12,
) -> dict[str, Tensor]:  # fmt: skip
    """Returns a state dict in unilm's order; with depths (12, 3) it has the 220 entries of the default file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, depth, channels, pixels in (("encoder", depths[0], 3, patch), ("decoder", depths[1], code_width, 1)):
        shapes |= {f"{part}.cls_token": (1, 1, width), f"{part}.pos_embed": (1, side * side + 1, width)}
        shapes |= {f"{part}.patch_embed.proj.weight": (width, channels, pixels, pixels)}
        shapes |= {f"{part}.patch_embed.proj.bias": (width,)}
        for number in range(depth):
            block = f"{part}.blocks.{number}"
            shapes |= {f"{block}.norm1.weight": (width,), f"{block}.norm1.bias": (width,)}
            shapes |= {f"{block}.attn.q_bias": (width,), f"{block}.attn.v_bias": (width,)}
            shapes |= {f"{block}.attn.qkv.weight": (3 * width, width)}
            shapes |= {f"{block}.attn.proj.weight": (width, width), f"{block}.attn.proj.bias": (width,)}
            shapes |= {f"{block}.norm2.weight": (width,), f"{block}.norm2.bias": (width,)}
            shapes |= {f"{block}.mlp.fc1.weight": (hidden, width), f"{block}.mlp.fc1.bias": (hidden,)}
            shapes |= {f"{block}.mlp.fc2.weight": (width, hidden), f"{block}.mlp.fc2.bias": (width,)}
        shapes |= {f"{part}.fc_norm.weight": (width,), f"{part}.fc_norm.bias": (width,)}
    shapes |= {"quantize.cluster_size": (codes,), "quantize.embedding.weight": (codes, code_width)}
    shapes |= {"quantize.embedding.cluster_size": (codes,), "quantize.embedding.embed_avg": (codes, code_width)}
    shapes |= {"quantize.embedding.initted": (1,)}
    for name, out in (("encode_task_layer", code_width), ("decode_task_layer", target_width)):
        shapes |= {f"{name}.0.weight": (width, width), f"{name}.0.bias": (width,)}
        shapes |= {f"{name}.2.weight": (out, width), f"{name}.2.bias": (out,)}
    generator = torch.Generator().manual_seed(0)
    tensors = {key: 0.1 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    tensors["quantize.embedding.weight"] = torch.nn.functional.normalize(tensors["quantize.embedding.weight"], dim=1)
    return tensors | {"quantize.embedding.initted": torch.ones(1)}
