"""How much memory this process has used at most."""

import torch

from modelscope_beit.network.process_memory import peak_resident_mib

MIB = 1 << 20


def peak_memory_mib() -> int | None:
    """Returns the most memory used so far, in MiB: allocated on the GPU, or resident where there is no GPU.

    mmcv logs the first of these. None where the system does not tell (Windows without a GPU).
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // MIB
    return peak_resident_mib()
