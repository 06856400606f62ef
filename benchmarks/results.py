"""Write the tables of docs/RESULTS.md anew from the raw files in benchmarks/results/.

    python benchmarks/results.py

Each table stands between `<!-- table: name -->` and `<!-- end -->`; what is around it is written by hand. A table whose
raw files are missing is an error, and so is a mark without a table.
"""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "RESULTS.md"

# The runs whose supernets are compared in `ranking`.
SUPERNETS = {"stages": "two stages", "spos": "trained as SPOS"}

LATENCY_FILES = (
    "mobile_ort_fp32",
    "mobile_openvino_fp32",
    "mobile_litert_fp32",
    "mobile_ort_int8",
    "mobile_openvino_int8",
    "mobile_litert_int8",
    "tiny_ort_fp32",
    "tiny_openvino_fp32",
)


def read(name: str) -> Any:
    """A raw file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float) -> str:
    """A share as whole percents."""
    return f"{100 * share:.0f} %"


def latency() -> str:
    """Prediction on fresh networks, by space and device."""
    rows = []
    for name in LATENCY_FILES:
        figures = read(f"latency_{name}")
        errors, facts = figures["errors"], figures["facts"]
        both = errors["all"]

        def within(row: dict[str, float]) -> str:
            return f"{100 * row['within_5_percent']:.0f}, {percent(row['within_10_percent'])}"

        shortest, _, longest = figures["fresh_ms"]
        rows.append(
            [
                f"`{figures['preset']}` {figures['image_size']} px, {facts['runtime']} {facts['precision']}",
                f"{shortest:.3g} to {longest:.3g} ms",
                within(both["table"]),
                within(both["one factor"]),
                f"**{within(both['ours'])}**",
                f"{100 * both['ours']['mean']:.1f} %",
                within(errors["near the budget"]["ours"]),
                within(figures["as_it_came"]),
                f"{100 * figures['passes_disagree']['mean']:.1f} %",
                percent(figures["interval_coverage"]),
                f"{figures['seconds']['together']:.0f} s ({figures['networks_fitted']})",
            ]
        )
    head = [
        "space, device",
        "fresh networks",
        "table sum: within 5, 10 %",
        "one factor",
        "ours",
        "ours, mean error",
        "ours near the budget",
        "as it came, without the witness",
        "two passes apart",
        "interval for 9 of 10 holds",
        "a new device takes (networks)",
    ]
    return markdown(head, rows)


def search(name: str = "search_algorithms") -> str:
    """Evaluations until within 1, 0.5 and 0.1 points of the best; medians over problems and budgets."""
    figures = read(name)
    most = int(figures["settings"]["evaluations"])
    names = list(next(iter(figures["families"].values())))
    rows = []
    for family, row in figures["families"].items():
        cells = [Path(family).stem if "." in family else family]
        for name in names:
            medians = (_median(row[name]["runs"], place, most) for place in range(3))
            cells.append(", ".join(f">{most}" if median > most else str(median) for median in medians))
        # A rival that did not get there in half of its runs needs more than what it was given.
        ours, *others = (_median(row[name]["runs"], 2, most) for name in names)
        best = min(others)
        bound = ("<" if best > most else "") + (">" if ours > most else "")
        cells.append("unknown" if bound == "<>" else f"{bound}{min(ours, most) / min(best, most):.2f}")
        rows.append(cells)
    return markdown(["problem", *names, "last tenth, against the best rival"], rows)


def _median(runs: list[list[int | None]], place: int, most: int) -> int:
    """The upper median, so that half of the runs not reached is not reached: one more than the most."""
    values = sorted(most + 1 if run[place] is None else run[place] for run in runs)
    return values[len(values) // 2]


def against_spos(name: str) -> str:
    """What each way's supernet costs, and what its winners are worth; means over seeds."""
    ways: dict[str, list[dict[str, Any]]] = {}
    for row in read(name):
        ways.setdefault(row["way"], []).append(row)
    table = []
    for way, same in ways.items():
        mean = {
            name: statistics.mean(row[name] for row in same)
            for name in (
                "pictures",
                "macs",
                "seconds",
                "retrained_pictures",
                "score",
                "score_deviation",
                "top1",
            )
        }
        each = ", ".join(f"{100 * row['top1']:.1f}" for row in sorted(same, key=lambda row: row["seed"]))
        shortest, longest = (pick(row["measured_ms"] for row in same) for pick in (min, max))
        table.append(
            [
                way,
                f"{mean['pictures'] / 1e3:.0f} k",
                f"{mean['macs'] / 1e12:.2f}",
                f"{mean['seconds']:.0f}",
                f"{mean['retrained_pictures'] / 1e3:.0f} k",
                f"{100 * mean['score']:.1f} % ({100 * mean['score_deviation']:.1f})",
                f"**{100 * mean['top1']:.1f} %** ({each})",
                f"{1e3 * shortest:.0f} to {1e3 * longest:.0f}",
            ]
        )
    head = [
        "way",
        "supernet: pictures",
        "10^12 MACs",
        "seconds",
        "winner: pictures",
        "its score in the supernet (deviation of all scored last)",
        "top-1 (each seed)",
        "measured µs",
    ]
    return markdown(head, table)


def spaces() -> str:
    """Shares of three spaces within the budget, and within the window that is searched."""
    names = ("full", "hand-made", "hardware-aware")
    rows = []
    for row in read("spaces")["widths"]:
        cells = [f"{100 * row[name]['within']:.1f}, {100 * row[name]['in_window']:.1f} %" for name in names]
        ratios = [row["hardware-aware"][key] / row["full"][key] for key in ("within", "in_window")]
        rows.append([f"{row['width']:g}", *cells, ", ".join(f"{ratio:.1f}" for ratio in ratios)])
    return markdown(["width", *names, "hardware-aware against full"], rows)


def rivals(name: str) -> str:
    """Networks that stand beside a winner, by the same recipe; means over seeds."""
    found: dict[tuple[str, int, float], list[dict[str, Any]]] = {}
    for row in read(name):
        found.setdefault((row["name"], row["epochs"], row["inherited"]), []).append(row)
    table = []
    for (rival, epochs, inherited), same in sorted(found.items(), key=lambda item: item[0][1]):
        top1 = [row["top1"] for row in sorted(same, key=lambda row: row["seed"])]
        each = f" ({', '.join(f'{100 * value:.1f}' for value in top1)})" if len(top1) > 1 else ""
        table.append(
            [
                rival,
                f"{inherited:g} of the supernet's weights" if inherited else "scratch",
                f"{epochs} ({same[0]['pictures'] / 1e3:.0f} k)",
                f"{same[0]['macs'] / 1e6:.1f}",
                f"{1e3 * statistics.median(row['measured_ms'] for row in same):.0f}",
                f"**{100 * statistics.mean(top1):.1f} %**{each}",
            ]
        )
    head = ["network", "from", "epochs (pictures)", "10^6 MACs", "measured µs", "top-1 (each seed)"]
    return markdown(head, table)


def no_search() -> str:
    """Runs of `--no-search`: what they chose, and what it is worth."""
    table = [
        [
            f"`{row['data']}`, seed {row['seed']}",
            f"`{row['operator']}`, width {row['width']:g}, depth {row['depth']:g}",
            f"{row['epochs']} ({row['pictures'] / 1e3:.0f} k)",
            f"{row['macs'] / 1e6:.1f}",
            f"{1e3 * row['predicted_ms']:.0f}, {1e3 * row['measured_ms']:.0f}",
            f"**{100 * row['top1']:.1f} %**",
        ]
        for row in read("no_search")["runs"]
    ]
    head = ["pictures", "chosen", "epochs (pictures)", "10^6 MACs", "predicted, measured µs", "top-1"]
    return markdown(head, table)


def shapes() -> str:
    """Whole searches in the shapes of two rules: what they came to."""
    rules: dict[str, list[dict[str, Any]]] = {}
    for row in read("shape_tiny_imagenet")["runs"]:
        rules.setdefault(row["rule"], []).append(row)
    table = []
    for rule, same in rules.items():
        same.sort(key=lambda row: row["seed"])
        each = ", ".join(f"{100 * row['top1']:.1f}" for row in same)
        table.append(
            [
                rule,
                ", ".join(dict.fromkeys(f"width {row['width']:g}, depth {row['depth']:g}" for row in same)),
                _range([row["macs"] / 1e6 for row in same], ".1f"),
                _range([1e3 * row["measured_ms"] for row in same], ".0f"),
                f"**{100 * statistics.mean(row['top1'] for row in same):.1f} %** ({each})",
            ]
        )
    return markdown(
        ["operators compared at", "shape", "10^6 MACs", "measured µs", "top-1 (each seed)"], table
    )


def _range(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def halving() -> str:
    """What successive halving chose at each rung, and what became of the last network."""
    table = []
    for row in read("halving")["runs"]:
        rungs = [
            sorted((top1[place] for top1 in row["contenders"].values() if len(top1) > place), reverse=True)
            for place in range(len(row["rungs"]))
        ]
        told = [f"{len(rung)}: {100 * rung[0]:.1f} to {100 * rung[-1]:.1f} %" for rung in rungs]
        table.append(
            [
                f"`{row['data']}`",
                *told,
                f"{row['pictures'] / 1e3:.0f} k",
                f"{row['macs'] / 1e6:.1f}",
                f"{1e3 * row['measured_ms']:.0f}",
                f"**{100 * row['top1']:.1f} %**",
            ]
        )
    rungs = [f"networks after epoch {rung}, best to worst" for rung in read("halving")["runs"][0]["rungs"]]
    return markdown(["pictures of", *rungs, "pictures seen", "10^6 MACs", "measured µs", "top-1"], table)


def families(name: str) -> str:
    """Networks with fixed operators at one latency, trained from scratch and judged on training pictures apart."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in read(name)["networks"]:
        recipe = (row["epochs"], row.get("weight_decay"), row.get("erased"))
        found.setdefault((*recipe, row["family"], row["depth"]), []).append(row)
    table = []
    for (epochs, _, _, family, depth), same in sorted(found.items(), key=lambda item: item[0][0]):
        first, shown = same[0], family.removeprefix("skeleton: ")
        if depth != 1 and "as published" not in family:
            shown += f", depth {depth:g}"
        each = ", ".join(f"{100 * row['top1']:.1f}" for row in sorted(same, key=lambda row: row["seed"]))
        table.append(
            [
                shown,
                f"{first['width']:g}",
                f"{len(first['architecture'])}",
                f"{first['macs'] / 1e6:.1f}",
                f"{first['params'] / 1e3:.0f} k",
                f"{1e3 * first['measured_ms']:.0f}",
                f"{epochs}",
                f"**{100 * statistics.mean(row['top1'] for row in same):.1f} %**"
                + (f" ({each})" if len(same) > 1 else ""),
            ]
        )
    head = ["network", "width", "layers", "10^6 MACs", "parameters", "measured µs", "epochs", "top-1"]
    return markdown(head, table)


def ranking() -> str:
    """How well each score ranks networks as their own trainings do: Kendall's tau by stage."""
    figures = read("ranking_cifar10")
    stages = list(dict.fromkeys(row["stage"] for row in figures["taus"]))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in figures["taus"]:
        # What needs no supernet is the same for all of them.
        by = row["by"] if row["score"].startswith("supernet") else ""
        told = f"{row['tau']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
        rows.setdefault((by, row["score"]), {})[row["stage"]] = told
    table = [
        [f"{score}, {SUPERNETS[by]}" if by else score, *(cells[stage] for stage in stages)]
        for (by, score), cells in rows.items()
    ]
    counts = {row["stage"]: row["networks"] for row in figures["taus"]}
    return markdown(["score", *(f"{stage}: {counts[stage]} networks" for stage in stages)], table)


def throughput() -> str:
    """Training and scoring beside a plain SPOS loop."""
    rows = []
    for name, figures in read("throughput").items():
        rates = {k: statistics.median(v) for k, v in figures["training"]["pictures_a_second"].items()}
        ratios, search = figures["training"]["ratio_to_plain"], figures["search"]
        best = max(ratios, key=lambda kind: statistics.median(ratios[kind]))
        seconds = {k: statistics.median(v) for k, v in search["seconds_a_candidate"].items()}
        rows.append(
            [
                f"`{name}`",
                f"{rates['plain']:.0f}",
                f"{rates['fp32']:.0f}, {rates['bf16']:.0f}",
                f"**{_spread(ratios[best])}**",
                f"{seconds['SPOS']:.2f} s",
                f"{seconds['ours']:.3f} s, {seconds['ours, stage 1']:.3f} s",
                f"**{_spread(search['ratio_to_spos']['ours'])}**, "
                f"{_spread(search['ratio_to_spos']['ours, stage 1'])}",
                f"{figures['memory_gib']:.1f} GiB",
            ]
        )
    head = [
        "space",
        "plain loop, pictures a second",
        "ours fp32, bf16",
        "ratio (better precision)",
        "a candidate at SPOS's settings",
        "at ours: as in SPOS, in stage 1",
        "ratios",
        "memory",
    ]
    return markdown(head, rows)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


TABLES: dict[str, Callable[[], str]] = {
    "against_spos": lambda: against_spos("against_spos_cifar10"),
    "against_spos_tiny_imagenet": lambda: against_spos("against_spos_tiny_imagenet"),
    "against_spos_longer": lambda: against_spos("against_spos_cifar10_longer"),
    "halving": halving,
    "hand_made": lambda: families("hand_made_cifar10"),
    "latency": latency,
    "no_search": no_search,
    "ranking": ranking,
    "rivals_cifar10_all": lambda: rivals("rivals_cifar10_all"),
    "rivals_cifar10_full": lambda: rivals("rivals_cifar10_full"),
    "rivals_cifar10_short": lambda: rivals("rivals_cifar10_short"),
    "rivals_cifar10_slower": lambda: rivals("rivals_cifar10_slower"),
    "rivals_tiny_imagenet": lambda: rivals("rivals_tiny_imagenet"),
    "search": search,
    "shapes": shapes,
    "skeletons": lambda: families("skeletons_cifar10"),
    "spaces": spaces,
    "search_held_out": lambda: search("search_held_out"),
    "throughput": throughput,
}


def written(page: str) -> str:
    """The page with every table made anew."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
