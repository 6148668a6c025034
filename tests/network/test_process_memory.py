"""The memory of the process, compared with a block of known size."""

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_peak_resident_mib__sees_a_block_and_keeps_it():
    program = (
        "from modelscope_beit.network.process_memory import peak_resident_mib as peak\n"
        "before = peak(); block = bytearray(200 << 20); block[::4096] = b'x' * len(block[::4096])\n"
        "during = peak(); del block; print(before, during, peak())"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, during, after = map(int, finished.stdout.split())
    assert 190 <= during - before <= 230
    assert after >= during - 4, "the peak of memory that is freed (the kernel counts a little late)"
