"""What a winner's first weights are worth: the supernet's, fresh ones, or a mixture.

    python benchmarks/warm_start.py RUN --epochs 59 12 --out FILE.json

The architecture that a finished run chose is trained again from each start, by the run's recipe but for the learning
rate, on one thread, and judged on the test split. Two trainings run at once; those that are in the file are not done
again.
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from one_network import learn, opened, recognised, settle

from hurricane.runs import write_json
from hurricane.steps import retrain, supernet, verify
from hurricane.train.loop import Recipe

# share of the supernet's weights, learning rate
STARTS = ((1.0, 0.05), (1.0, 0.1), (0.0, 0.1), (0.4, 0.1))


def trained(folder: Path, share: float, rate: float, epochs: int, seed: int) -> float:
    """Share of the test pictures recognised after a training from one start."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    job = opened(folder)
    section, test = job.config.retrain, job.pictures.test
    network = retrain.network_of(job, job.run.record(verify.NAME)["verdict"]["architecture"])
    if share:
        network.inherit(supernet.load(job), share)
    recipe = Recipe(
        epochs=epochs,
        batch_size=section.batch_size,
        learning_rate=rate,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        label_smoothing=section.label_smoothing,
        flip=job.flip,
        seed=seed,
    )
    images, labels = retrain.learned(job)
    learn(network, images, labels, recipe)
    settle(network, images, seed)
    return recognised(network, test.images, test.labels)


def main() -> None:
    """Do what is missing and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int, nargs="+", default=[59, 12])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = json.loads(asked.out.read_text()) if asked.out.is_file() else []
    done = {(row["share"], row["learning_rate"], row["epochs"], row["seed"]) for row in rows}
    wanted = [
        (share, rate, epochs, seed)
        for seed in range(asked.seeds)
        for epochs in asked.epochs
        for share, rate in STARTS
        if (share, rate, epochs, seed) not in done
    ]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(trained, asked.run, *one): one for one in wanted}
        for future in as_completed(waiting):
            share, rate, epochs, seed = waiting[future]
            row = {"share": share, "learning_rate": rate, "epochs": epochs, "seed": seed}
            rows.append({**row, "top1": future.result()})
            write_json(asked.out, rows)
            print(
                f"{share:g} of the supernet, rate {rate:g}, {epochs} epochs: {rows[-1]['top1']:.2%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
