"""How long a CPU takes for the weights' gradient of depthwise convolutions: torch's own, and ours in strips.

    python benchmarks/depthwise.py --out benchmarks/results/depthwise.json

Shapes are those of inverted bottlenecks in the presets, 32 pictures (a worker's share of a batch of 64), channels last,
one thread. Forward pass, torch's gradient of the weights and `hurricane.nn.convolution.weight_gradient` take turns in
a random order; medians over the rounds.
"""

import argparse
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

import hurricane as hn
from hurricane.nn.convolution import weight_gradient
from hurricane.runs import write_json

PICTURES = 32
# Channels, pixels of the input's side, stride.
PLACES = (
    (96, 16, 1),
    (144, 16, 2),
    (240, 8, 1),
    (480, 4, 1),
    (96, 56, 1),
    (144, 56, 2),
    (576, 14, 1),
    (1152, 7, 1),
)
KERNELS = (5, 7)


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def at(
    channels: int, size: int, stride: int, kernel: int, precision: torch.dtype, rounds: int
) -> dict[str, Any]:
    """Medians of one shape."""
    images = torch.randn(PICTURES, channels, size, size).to(precision, memory_format=torch.channels_last)
    weight = torch.randn(channels, 1, kernel, kernel).to(precision)
    strides, padding = (stride, stride), (kernel // 2, kernel // 2)

    def forward() -> torch.Tensor:
        return F.conv2d(images, weight, None, strides, padding, groups=channels)

    upstream = torch.randn_like(forward())

    def torchs() -> torch.Tensor:
        rest = (None, strides, padding, (1, 1), False, (0, 0), channels, (False, True, False))
        return torch.ops.aten.convolution_backward(upstream, images, weight, *rest)[1]

    def ours() -> torch.Tensor:
        return weight_gradient(upstream, images, weight.float(), strides, padding)

    ways: dict[str, Callable[[], torch.Tensor]] = {"forward": forward, "torch": torchs, "ours": ours}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 2):
        for way in random.Random(number).sample(list(ways), len(ways)):
            spent = timed(ways[way])
            if number >= 2:
                times[way].append(spent)
    return {
        "channels": channels,
        "size": size,
        "stride": stride,
        "kernel": kernel,
        "precision": "bf16" if precision == torch.bfloat16 else "fp32",
        **{f"{way}_ms": statistics.median(spent) for way, spent in times.items()},
        "ratio": statistics.median(b / a for a, b in zip(times["ours"], times["torch"], strict=True)),
    }


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for precision in (torch.float32, torch.bfloat16):
        for place in PLACES:
            for kernel in KERNELS:
                rows.append(at(*place, kernel, precision, asked.rounds))
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    facts = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "facts": dict(hn.open_device("onnxruntime:cpu").facts()),
        "torch": torch.__version__,
    }
    write_json(asked.out, {**facts, "shapes": rows})


if __name__ == "__main__":
    main()
