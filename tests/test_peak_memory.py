"""Peak memory of this process."""

import json
import subprocess
import sys

import pytest

SIZE = 200_000_000
PROGRAM = f"""
import json, mmap
from mcl.peak_memory import peak_memory, reset_peak_memory

assert reset_peak_memory("cpu")
peaks = [peak_memory("cpu")]
block = mmap.mmap(-1, {SIZE})  # not of malloc, which may keep what is given back
for place in range(0, {SIZE}, 4096):
    block[place] = 1
block.close()
peaks.append(peak_memory("cpu"))
assert reset_peak_memory("cpu")
print(json.dumps([*peaks, peak_memory("cpu")]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux measures the peak anew")
def test_peak_stays_after_the_memory_is_given_back_until_it_is_reset() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, peak, again = json.loads(done.stdout)
    assert peak - before > 0.9 * SIZE
    assert peak - again > 0.9 * SIZE
