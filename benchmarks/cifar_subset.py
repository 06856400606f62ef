"""The CIFAR-10 subset that the benchmarks use: the first rows of a shuffled train.parquet, and the whole test split.

python benchmarks/cifar_subset.py FOLDER_WITH_TRAIN_AND_TEST_PARQUET OUT [--rows 10000]
"""

import argparse
import shutil
from pathlib import Path

import pyarrow.parquet


def main() -> None:
    """Write OUT/train.parquet and OUT/test.parquet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = pyarrow.parquet.read_table(arguments.source / "train.parquet").slice(0, arguments.rows)
    pyarrow.parquet.write_table(table, arguments.out / "train.parquet")
    shutil.copy(arguments.source / "test.parquet", arguments.out / "test.parquet")


if __name__ == "__main__":
    main()
