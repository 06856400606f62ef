"""Freed memory: kept while something is trained or scored, given back afterwards."""

import platform
import subprocess
import sys

import pytest

from hurricane.train import memory

FAULTS = """
import ctypes, resource, sys
from concurrent.futures import ThreadPoolExecutor
from hurricane.train.memory import kept_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
side, size, count = map(int, sys.argv[1:])

def use(times):
    for _ in range(times):
        blocks = [library.malloc(size) for _ in range(count)]
        for block in blocks:
            ctypes.memset(block, 1, size)
        for block in reversed(blocks):
            library.free(block)

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pool.submit(use, times).result()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times

def resident():
    return int(open("/proc/self/statm").read().split()[1])

# In a thread, as training is.
with kept_memory(side), ThreadPoolExecutor(1) as pool:
    faults(2)
    print(faults(20))
    used = resident()
print(used - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back after each step")
@pytest.mark.parametrize(("side", "mebibytes", "count"), [(32, 2, 20), (224, 24, 6), (224, 80, 2)])
def test_freed_memory_is_used_again_and_given_back_at_the_end(side, mebibytes, count):
    size = mebibytes * 2**20
    words = [sys.executable, "-c", FAULTS, str(side), str(size), str(count)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    faults, given_back = (float(line) for line in told.split())
    pages = size * count / 4096
    assert faults < 0.05 * pages
    # A thread's own part keeps its last 64 MiB.
    assert given_back > 0.9 * pages - 64 * 2**20 / 4096 * (side < memory.LARGE_SIDE)


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_settled", lambda large: None)
    with memory.kept_memory(32):
        pass


def test_a_library_that_lacks_the_call_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory._settled.cache_clear()
    try:
        assert memory._settled(False) is None
    finally:
        memory._settled.cache_clear()
