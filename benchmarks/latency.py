"""How well latency is predicted on a device: fresh networks that no fit has seen, measured in the same session.

    python benchmarks/latency.py --preset mobile --image-size 224 --device "onnxruntime:cpu?threads=1" \
        --out benchmarks/results/latency_mobile_ort.json

Profiles the space, lets the run's own code choose and measure whole networks and fit the latency model, then measures
fresh random networks: half over the whole space, half near a budget at the median cost. Beside the model stand the
plain sum of the table, that sum times one factor, and factor and offset, both fitted on the same networks.

Each fresh network is measured in two passes over all, a minute apart, beside the witness of the fit, and told at its
usual pace, as in a run: what the machine does to everything is not the device. It is judged by the mean of the two.
How far they disagree is told, too: half of that is in any prediction's error. Both passes are in the JSON; so is the
machine's pace beside each network, and the model's errors against every single reading of the clock ("as it came").

What is done is kept in OUT.parts/; the same command goes on from there. Delete the folder to start anew. Run it on a
quiet machine; the load before and after is recorded.
"""

import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import hurricane as hn
from hurricane.devices import Device
from hurricane.latency import Floats, LatencyTable
from hurricane.latency_model import LatencyModel
from hurricane.runs import append_row, read_json, read_rows, write_json
from hurricane.space import Archs, SearchSpace
from hurricane.steps import whole_networks
from hurricane.steps.whole_networks import BATCH, Batches, Plan

FIRST = 4
# The budget's neighbourhood, as shares of it: where a search ends.
NEAR = (0.9, 1.05)
PASSES = 2


def main() -> None:
    """Profile, fit, measure fresh networks, print, and write the figures."""
    asked = arguments()
    parts = asked.out.with_name(asked.out.name + ".parts")
    parts.mkdir(parents=True, exist_ok=True)
    device = hn.open_device(asked.device)
    whole = hn.preset(asked.preset, image_size=asked.image_size, classes=asked.classes)
    names = ("seed", "networks", "error", "stack", "rounds", "seconds", "fresh")
    asked_for = [device.name, whole.to_json(), *(getattr(asked, name) for name in names)]
    if (parts / "asked.json").exists() and read_json(parts / "asked.json") != json.loads(
        json.dumps(asked_for)
    ):
        raise SystemExit(f"{parts} belongs to another command; delete it or choose another --out")
    write_json(parts / "asked.json", asked_for)
    append_row(
        parts / "sessions.jsonl", {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "load": os.getloadavg()}
    )
    table = profiled(device, whole, asked, parts)
    space = whole.narrow(
        [[c for c in la.choices if la.spec(c) not in table.unsupported] for la in whole.layers]
    )
    batches = Batches(device, space, plan_of(asked))
    model, rest = corrected(batches, table, asked, parts)
    archs = fresh(space, model, asked)
    passes, paces = measured(batches, archs, asked, parts, rest)
    figures = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "sessions": read_rows(parts / "sessions.jsonl"),
        "load_after": os.getloadavg(),
        "device": device.name,
        "facts": device.facts(),
        "preset": asked.preset,
        "image_size": asked.image_size,
        "operators": len(table.rows),
        "unsupported": {str(spec): why for spec, why in table.unsupported.items()},
        "seconds": seconds(parts),
        "networks_fitted": len(model.archs),
        **rest,
        **judged(space, table, model, archs, passes, paces),
    }
    write_json(asked.out, figures)
    print(in_words(figures))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=("tiny", "mobile"), required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--fresh", type=int, default=40, help="networks to judge by")
    parser.add_argument(
        "--networks", type=int, default=36, help="networks to fit on, at most (profile.networks)"
    )
    parser.add_argument(
        "--error", type=float, default=0.015, help="held-out error that is enough (profile.error)"
    )
    parser.add_argument("--stack", type=int, default=4, help="equal operators timed at once (profile.stack)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def profiled(device: Device, space: SearchSpace, asked: argparse.Namespace, parts: Path) -> LatencyTable:
    """The table, timed or read; rows that are there are not timed again."""
    path, partial = parts / "table.json", parts / "rows.json"
    if path.exists():
        return LatencyTable.load(path)
    known = dict(LatencyTable.load(partial).rows) if partial.exists() else {}
    last = time.perf_counter()

    def keep(rows: Any) -> None:
        nonlocal last
        known.update(rows)
        LatencyTable(rows=known).save(partial)
        now = time.perf_counter()
        append_row(parts / "seconds.jsonl", {"what": "profile", "seconds": now - last})
        last = now

    table = hn.profile(
        device,
        space,
        known=dict(known),
        on_rows=keep,
        rounds=asked.rounds,
        seconds=asked.seconds,
        stack=asked.stack,
    )
    table.save(path)
    return table


def corrected(
    batches: Batches, table: LatencyTable, asked: argparse.Namespace, parts: Path
) -> tuple[LatencyModel, dict[str, Any]]:
    """The model as a run makes it, its held-out predictions, and the witness beside which networks were measured.

    Candidates are of both kinds that are judged.
    """
    path = parts / "model.json"
    if path.exists():
        kept = read_json(path)
        return LatencyModel.from_json(kept.pop("model")), kept
    started, space = time.perf_counter(), batches.space
    rng = np.random.default_rng([asked.seed, 1])
    first = whole_networks.fitted(batches, table, space.random(FIRST, rng))
    near = whole_networks.near(space, budget_ms(space, first, asked), asked.seed)
    candidates = space.random(whole_networks.CANDIDATES, rng)
    model, rows = whole_networks.corrected(
        batches, table, first, lambda model: np.concatenate([candidates, near(model)])
    )
    rest = {
        "held_out": [row.to_json() for row in rows],
        "witness": batches.witness,
        "usual_ms": batches.watched.usual_ms,
        "fitted_paces": batches.paces.tolist(),
    }
    append_row(parts / "seconds.jsonl", {"what": "whole networks", "seconds": time.perf_counter() - started})
    write_json(path, {"model": model.to_json(), **rest})
    return model, rest


def budget_ms(space: SearchSpace, model: LatencyModel, asked: argparse.Namespace) -> float:
    """The median cost of the space."""
    return float(np.median(model.predict(space, space.random(2000, np.random.default_rng([asked.seed, 2])))))


def fresh(space: SearchSpace, model: LatencyModel, asked: argparse.Namespace) -> Archs:
    """Networks that no fit has seen, none twice: first those of the whole space, then those near the budget."""
    half, budget = asked.fresh // 2, budget_ms(space, model, asked)
    low, high = (share * budget for share in NEAR)
    anywhere = space.random(4 * asked.fresh, np.random.default_rng([asked.seed, 3]))
    nearby = hn.sample(space, 4 * asked.fresh, seed=asked.seed + 3, cost=model, max_ms=high, min_ms=low)
    gone, chosen = set(model.archs), []
    for drawn, wanted in ((anywhere, half), (nearby, asked.fresh - half)):
        rows = [row for row in dict.fromkeys(map(tuple, drawn.tolist())) if row not in gone][:wanted]
        gone.update(rows)
        chosen += rows
    return np.array(chosen)


def measured(
    batches: Batches, archs: Archs, asked: argparse.Namespace, parts: Path, rest: dict[str, Any]
) -> tuple[Floats, Floats]:
    """Medians of each network at the fit's usual pace, kinds mixed, and the machine's pace then: (passes, n) each."""
    path, n = parts / "fresh.json", len(archs)
    if not path.exists():
        if batches.witness is None:  # the fit was made before this process: its witness is loaded again
            batches = Batches(batches.device, batches.space, batches.plan, rest["witness"])
        orders = [np.random.default_rng([asked.seed, 4, number]).permutation(n) for number in range(PASSES)]
        for order in orders:
            for start in range(0, n, BATCH):
                medians = batches.medians(archs[order[start : start + BATCH]])
        # All are told at a pace that these batches had a say in; back to the one that the fit knew.
        moved = batches.watched.usual_ms / rest["usual_ms"]
        passes, paces = np.empty((PASSES, n)), np.empty((PASSES, n))
        for number, order in enumerate(orders):
            part = slice((number - PASSES) * n, (number - PASSES + 1) * n or None)
            passes[number, order] = medians[part] / moved
            paces[number, order] = batches.paces[part] * moved
        write_json(path, {"ms": passes.tolist(), "paces": paces.tolist()})
    kept = read_json(path)
    return np.array(kept["ms"]), np.array(kept["paces"])


def plan_of(asked: argparse.Namespace) -> Plan:
    """How whole networks are measured."""
    return Plan(asked.networks, asked.error, asked.rounds, asked.seconds)


def judged(
    space: SearchSpace,
    table: LatencyTable,
    model: LatencyModel,
    archs: Archs,
    passes: Floats,
    paces: Floats,
) -> dict[str, Any]:
    """Errors of each way to predict, against the mean of the passes; everything by part."""
    truth = passes.mean(axis=0)
    fitted, seen = np.array(model.archs), np.array(model.measured_ms)
    summed, known = table.predict(space, archs), table.predict(space, fitted)
    factor = float(np.median(seen / known))
    design = np.stack([known, np.ones(len(known))], axis=1) / seen[:, None]
    slope, offset = np.linalg.lstsq(design, np.ones(len(known)), rcond=None)[0]
    predictions = {
        "table": summed,
        "one factor": factor * summed,
        "factor and offset": slope * summed + offset,
        "ours": model.predict(space, archs),
    }
    low, high = model.interval(space, archs).T
    half = len(archs) // 2
    kinds = {"all": slice(None), "whole space": slice(0, half), "near the budget": slice(half, None)}
    return {
        "fresh_ms": [float(truth.min()), float(np.median(truth)), float(truth.max())],
        "errors": {
            kind: {name: errors(values[part], truth[part]) for name, values in predictions.items()}
            for kind, part in kinds.items()
        },
        "passes_disagree": errors(passes[1], passes[0]),
        "as_it_came": errors(np.tile(predictions["ours"], (len(passes), 1)), passes * paces),
        "paces": paces.tolist(),
        "interval_coverage": float(np.mean((low <= truth) & (truth <= high))),
        "interval_width": float(np.median((high - low) / predictions["ours"])),
        "belief": {name: value**0.5 for name, value in model.belief.variances.items()},
        "noise": model.belief.noise,
        "measured_ms": passes.tolist(),
        "predicted_ms": predictions["ours"].tolist(),
        "table_ms": summed.tolist(),
    }


def errors(predicted: Floats, truth: Floats) -> dict[str, float]:
    """Shares within 5 and 10 %, mean and median error, bias."""
    relative = predicted / truth - 1
    size = np.abs(relative)
    return {
        "within_5_percent": float((size <= 0.05).mean()),
        "within_10_percent": float((size <= 0.10).mean()),
        "mean": float(size.mean()),
        "median": float(np.median(size)),
        "largest": float(size.max()),
        "bias": float(relative.mean()),
    }


def seconds(parts: Path) -> dict[str, float]:
    """From a new device to a model, by what was done."""
    total: dict[str, float] = {}
    for row in read_rows(parts / "seconds.jsonl"):
        total[row["what"]] = total.get(row["what"], 0.0) + row["seconds"]
    return {**total, "together": sum(total.values())}


def in_words(figures: dict[str, Any]) -> str:
    """A table for people."""
    lines = [
        f"{figures['preset']} at {figures['image_size']} px on {figures['device']}: "
        f"{figures['networks_fitted']} networks fitted, {figures['seconds']['together']:.0f} s from a new device, "
        f"interval holds {figures['interval_coverage']:.0%}"
    ]
    for kind, rows in figures["errors"].items():
        for name, row in rows.items():
            lines.append(
                f"{kind:16} {name:18} within 5 %: {row['within_5_percent']:4.0%}  within 10 %: "
                f"{row['within_10_percent']:4.0%}  mean {row['mean']:.1%}  median {row['median']:.1%}"
            )
    raw, floor = figures["as_it_came"], figures["passes_disagree"]
    lines.append(
        f"as it came, without the witness: within 5 %: {raw['within_5_percent']:.0%}, 10 %: "
        f"{raw['within_10_percent']:.0%}"
    )
    lines.append(
        f"two passes agree within 5 %: {floor['within_5_percent']:.0%}, mean {floor['mean']:.1%} apart"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
