"""What finished runs came to, as rows of a results file, judged by other pictures beside the test split.

    python benchmarks/collect.py TRAIN.parquet RUN ... --way "what is new" --out benchmarks/results/default_lengths.json

Choices between ways of searching are made by training pictures that no run has seen (rows 10,000 to 20,000 of the
file; a run of `cifar_subset.py` learns from those before), and the test split is told beside them. A run that is in the
file already, by way and seed, is replaced. Without a parquet file of such rows (`--rows 0 0`) only the verdict is told.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from one_network import opened, recognised, rows

from hurricane.runs import write_json
from hurricane.steps import retrain, verify
from hurricane.steps.job import Job

TOLD = ("macs", "architecture", "top1", "measured_ms", "predicted_ms", "within", "facts")


def row_of(job: Job) -> dict[str, Any]:
    """What a run did and came to; SystemExit where it has no verdict yet."""
    record, trained = job.run.record(verify.NAME), job.run.record(retrain.NAME)
    if record is None or trained is None:
        raise SystemExit(f"{job.run.folder} has no verdict yet; finish it with `hurricane run`")
    verdict, lengths = record["verdict"], job.run.decision("plan")["lengths"]
    shape = job.run.decision("width" if job.searches else "plain")
    space = job.small_space
    learned = len(job.pictures.train.labels)
    return {
        "seed": job.config.run.seed,
        "supernet_pictures": (lengths["stage1"] + lengths["stage2"]) * learned,
        "scored": (2 if lengths["stage2"] else 1) * lengths["evaluations"],
        "epochs": trained["epochs"],
        "inherited": trained.get("inherited", 0.0),
        "retrained_pictures": trained["epochs"] * len(retrain.learned(job)[1]),
        "width": shape["value"],
        "depth": shape.get("depth", 1.0),
        "mixing_macs": int(space.mixing_macs([space.indices(tuple(verdict["architecture"]))])[0]),
        **{name: verdict[name] for name in TOLD},
    }


def main() -> None:
    """Add each run to the file, or put it in the place of what it was before."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parquet", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--way", required=True, help="what the table calls these runs")
    parser.add_argument("--settings", default="", help="what their command has beside that of the file")
    parser.add_argument("--rows", type=int, nargs=2, default=[10_000, 20_000])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(asked.out.read_text()) if asked.out.is_file() else {"runs": []}
    first, last = asked.rows
    judged = rows(asked.parquet, first, last) if last > first else None
    for folder in asked.runs:
        job = opened(folder)
        row = {"way": asked.way, "settings": asked.settings, **row_of(job)}
        if judged is not None:
            row |= {"judged": recognised(retrain.load(job), *judged), "judged_rows": asked.rows}
        others = [one for one in results["runs"] if (one["way"], one["seed"]) != (row["way"], row["seed"])]
        results["runs"] = [*others, row]
        write_json(asked.out, results)
        print(
            f"{folder}: {row['top1']:.2%} of the test split, {row.get('judged', float('nan')):.2%} of others"
        )


if __name__ == "__main__":
    main()
