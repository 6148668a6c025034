"""A tokenizer that computes in milliseconds, and a spelling of the reference algorithm in float64 NumPy."""

import numpy as np
import torch
from torch import nn

from modelscope_beit.pretraining.teachers import Teacher, TeacherNetwork
from modelscope_beit.pretraining.vq_kd import Tokenizer
from modelscope_beit.settings.tokenizer import CodebookSettings, TokenizerSettings


def tiny_settings(**codebook: object) -> TokenizerSettings:
    return TokenizerSettings(
        image_size=(32, 32),
        patch_size=8,
        width=32,
        num_heads=2,
        mlp_hidden=64,
        encoder_depth=2,
        decoder_depth=1,
        target_width=12,
        codebook=CodebookSettings(**{"num_codes": 24, "code_width": 8, "start": "random"} | codebook),  # type: ignore[arg-type]
    )


def tiny_tokenizer(seed: int = 0, **codebook: object) -> Tokenizer:
    torch.manual_seed(seed)
    return Tokenizer(tiny_settings(**codebook))


def tiny_teacher() -> Teacher:
    """Twelve random projections of each patch."""
    torch.manual_seed(9)
    network = nn.Conv2d(3, 12, 8, 8)
    return Teacher(TeacherNetwork(network, network, (0.5,) * 3, (0.5,) * 3, (32, 32), "random"), (4, 4))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt((rows**2).sum(axis=-1, keepdims=True))


def reference_quantizer(
    features: np.ndarray, codes: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Returns numbers, chosen codes, commitment, and the codes after the step, all by loops; features (n, D)."""
    features = unit(features)
    numbers = np.array([np.argmin(((row - codes) ** 2).sum(axis=1)) for row in features])
    chosen = codes[numbers]
    commitment = float(((chosen - features) ** 2).mean())
    after = codes.copy()
    for number in range(len(codes)):
        members = features[numbers == number]
        target = unit(members.mean(axis=0)) if len(members) else codes[number]
        after[number] = unit(decay * codes[number] + (1 - decay) * target)
    return numbers, chosen, commitment, after
