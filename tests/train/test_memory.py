"""Freed memory: kept while something is trained or scored, given back afterwards."""

import platform
import subprocess
import sys

import pytest

from hurricane.train import memory

FAULTS = """
import ctypes, resource, sys
from hurricane.train.memory import kept_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]

def faults(size=16 * 2**20, times=50):
    def now():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    before = now()
    for _ in range(times):
        # Two, so that the second is above the first and is what is trimmed when it is freed.
        blocks = [library.malloc(size), library.malloc(size)]
        for block in blocks:
            ctypes.memset(block, 1, size)
        for block in reversed(blocks):
            library.free(block)
    return (now() - before) / times

with kept_memory():
    faults(times=2)
    print(faults())
    used = int(open("/proc/self/statm").read().split()[1])
print(used - int(open("/proc/self/statm").read().split()[1]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back after each step")
def test_freed_memory_is_used_again_and_given_back_at_the_end():
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    faults, given_back = (float(line) for line in told.split())
    pages = 16 * 2**20 / 4096
    assert faults < 0.05 * pages
    assert given_back > 0.9 * pages


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_settled", lambda: None)
    with memory.kept_memory():
        pass


def test_a_library_that_lacks_the_call_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory._settled.cache_clear()
    try:
        assert memory._settled() is None
    finally:
        memory._settled.cache_clear()
