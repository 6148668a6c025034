"""The memory of the process, compared with what the system says."""

import subprocess
import sys

import pytest
import torch

from modelscope_beit.training.memory import peak_memory_mib


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_peak_memory_mib__sees_what_was_used_and_never_falls():
    program = (
        "import torch; from modelscope_beit.training.memory import peak_memory_mib as peak\n"
        "before = peak(); block = bytearray(200 << 20); block[::4096] = b'x' * len(block[::4096])\n"
        "during = peak(); del block; print(before, during, peak())"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, during, after = map(int, finished.stdout.split())
    assert 190 <= during - before <= 230
    assert after >= during - 4, "the peak of memory that is freed (the kernel counts a little late)"


def test_peak_memory_mib__on_a_gpu_is_what_mmcv_logs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123 * 1024 * 1024 + 5)
    assert peak_memory_mib() == 123
