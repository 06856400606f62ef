"""int8 on processors that compute with it exactly, and on those that cut sums off."""

import pytest

from hurricane.devices.precision import weight_bits


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "bits"),
    [
        ("x86_64", "flags : avx2 avx512f avx512_vnni", 8),
        ("AMD64", "flags : avx2 avx_vnni", 8),
        ("x86_64", "flags : sse4_2 avx2 avx512f", 7),
        ("AMD64", "", 7),
        ("aarch64", "", 8),
        ("arm64", "Features : asimd", 8),
    ],
)
def test_weights_have_seven_bits_where_sums_of_products_would_be_cut_off(machine, cpuinfo, bits):
    assert weight_bits(machine, cpuinfo) == bits
