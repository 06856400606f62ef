"""Write the tables of docs/RESULTS.md anew from the raw files in benchmarks/results/.

    python benchmarks/results.py

Each table stands between `<!-- table: name -->` and `<!-- end -->`; what is around it is written by hand. A table whose
raw files are missing is an error, and so is a mark without a table.
"""

import re
import statistics
from collections.abc import Callable
from pathlib import Path

from markdown_tables import markdown, median_and_span, percent, read
from network_tables import (
    against_spos,
    families,
    halving,
    most_mixing,
    most_mixing_devices,
    no_search,
    rivals,
    searches,
    shapes,
)

PAGE = Path(__file__).parents[1] / "docs" / "RESULTS.md"

WEIGHTS_SHOWN = ("1", "2")

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


def spaces() -> str:
    """Shares of three spaces within the budget, and within the window that is searched."""
    names = ("full", "hand-made", "hardware-aware")
    rows = []
    for row in read("spaces")["widths"]:
        cells = [f"{100 * row[name]['within']:.1f}, {100 * row[name]['in_window']:.1f} %" for name in names]
        ratios = [row["hardware-aware"][key] / row["full"][key] for key in ("within", "in_window")]
        rows.append([f"{row['width']:g}", *cells, ", ".join(f"{ratio:.1f}" for ratio in ratios)])
    return markdown(["width", *names, "hardware-aware against full"], rows)


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


def ranking_remedies() -> str:
    """Kendall's tau of supernets trained in other ways, by kind of network."""
    figures = read("ranking_remedies")
    taus = {(row["way"], row["seed"], row["kind"]): row for row in figures["taus"]}
    kinds = {row["kind"]: row["networks"] for row in figures["taus"]}
    scores = {(row["way"], row["seed"]): row for row in figures["supernets"]}
    rows = []
    for way, seed in dict.fromkeys((row["way"], row["seed"]) for row in figures["taus"]):
        found = [taus[way, seed, kind] for kind in kinds]
        told = [f"{each['tau']:+.2f} ({each['low']:+.2f} to {each['high']:+.2f})" for each in found]
        row = scores.get((way, seed))
        cost = (
            ["", ""]
            if row is None
            else [f"{row['pictures'] / 1e3:.0f} k", percent(statistics.mean(row["scores"]))]
        )
        rows.append([way, *cost, *told])
    head = ["supernet trained by", "pictures", "mean score"]
    return markdown([*head, *(f"{kind}: {count} networks" for kind, count in kinds.items())], rows)


def macs_beside_scores() -> str:
    """What the choice gains where MACs count as much as the score: taus, and the lead of the best three."""
    figures = read("ranking_remedies")
    kinds = [kind for kind in dict.fromkeys(row["kind"] for row in figures["taus"]) if kind != "all"]
    found: dict[tuple[str, int], list[str]] = {}
    for row in figures["taus"]:
        if row["kind"] in kinds:
            taus, leads = [f"{row['tau']:+.2f}"], [f"{100 * row['lead']:+.1f}"]
            for weight, both in row.get("with_macs", {}).items():
                if weight in WEIGHTS_SHOWN:
                    taus.append(f"{both['tau']:+.2f}")
                    leads.append(f"{100 * both['lead']:+.1f}")
            found.setdefault((row["way"], row["seed"]), []).extend([", ".join(taus), ", ".join(leads)])
    told = f"score alone, with MACs by {' and '.join(WEIGHTS_SHOWN)}"
    head = [f"{kind}: {what}, {told}" for kind in kinds for what in ("tau", "lead of the best three, points")]
    return markdown(["supernet trained by", *head], [[way, *cells] for (way, _), cells in found.items()])


LOOPS = ("fp32", "bf16", "fp32, shared weights", "fp32, shared weights, torch's gradients")


def throughput() -> str:
    """Training and scoring beside a plain SPOS loop."""
    rows = []
    for name, figures in read("throughput").items():
        rates = {k: statistics.median(v) for k, v in figures["training"]["pictures_a_second"].items()}
        ratios, memory = figures["training"]["ratio_to_plain"], figures["training"]["memory_gib"]
        scoring = ["", "", ""]
        if search := figures.get("search"):
            seconds = {k: statistics.median(v) for k, v in search["seconds_a_candidate"].items()}
            scoring = [
                f"{seconds['SPOS']:.2f} s",
                f"{seconds['ours']:.3f} s, {seconds['ours, stage 1']:.3f} s",
                f"**{median_and_span(search['ratio_to_spos']['ours'])}**, "
                f"{median_and_span(search['ratio_to_spos']['ours, stage 1'])}",
            ]
        rows.append(
            [
                f"`{name}`",
                f"{rates['plain']:.0f}",
                ", ".join(f"{rates[loop]:.0f}" if loop in rates else "-" for loop in LOOPS),
                ", ".join(
                    f"**{median_and_span(ratios[loop])}**" if loop in ratios else "-" for loop in LOOPS
                ),
                *scoring,
                f"{memory['plain']:.1f}, {memory['fp32, shared weights']:.1f} GiB",
            ]
        )
    head = [
        "space",
        "plain loop, pictures a second",
        "ours: fp32, bf16, fp32 with shared weights, these with torch's gradients",
        "ratios",
        "a candidate at SPOS's settings",
        "at ours: as in SPOS, in stage 1",
        "ratios",
        "memory: plain, ours with shared weights",
    ]
    return markdown(head, rows)


def depthwise() -> str:
    """The gradient of depthwise weights: torch's, and ours in strips."""
    rows: dict[tuple[str, str], list[str]] = {}
    for one in read("depthwise")["shapes"]:
        place = f"{one['channels']} channels, {one['size']} px" + (", stride 2" if one["stride"] == 2 else "")
        cell = f"{one['forward_ms']:.2f}, {one['torch_ms']:.2f}, {one['ours_ms']:.2f} ms (**{one['ratio']:.1f}**)"
        rows.setdefault((one["precision"], place), []).append(cell)
    head = ["precision", "shape", "kernel of 5", "kernel of 7"]
    return markdown(head, [[*key, *cells] for key, cells in rows.items()])


TABLES: dict[str, Callable[[], str]] = {
    "against_spos": lambda: against_spos("against_spos_cifar10"),
    "against_spos_tiny_imagenet": lambda: against_spos("against_spos_tiny_imagenet"),
    "against_spos_longer": lambda: against_spos("against_spos_cifar10_longer"),
    "depthwise": depthwise,
    "halving": halving,
    "hand_made": lambda: families("hand_made_cifar10"),
    "latency": latency,
    "no_search": no_search,
    "ranking": ranking,
    "ranking_remedies": ranking_remedies,
    "rivals_cifar10_all": lambda: rivals("rivals_cifar10_all"),
    "rivals_cifar10_cutmix": lambda: rivals("rivals_cifar10_cutmix"),
    "rivals_cifar10_full": lambda: rivals("rivals_cifar10_full"),
    "rivals_cifar10_random_default": lambda: rivals("rivals_cifar10_random_default"),
    "rivals_cifar10_random_pool": lambda: rivals("rivals_cifar10_random_pool"),
    "rivals_cifar10_short": lambda: rivals("rivals_cifar10_short"),
    "rivals_cifar10_slower": lambda: rivals("rivals_cifar10_slower"),
    "rivals_tiny_imagenet": lambda: rivals("rivals_tiny_imagenet"),
    "search": search,
    "shapes": shapes,
    "skeletons": lambda: families("skeletons_cifar10"),
    "operators": lambda: families("operators_cifar10"),
    "operators_tiny_imagenet": lambda: families("operators_tiny_imagenet"),
    "mixtures": lambda: families("mixtures_cifar10"),
    "most_mixing": most_mixing,
    "most_mixing_devices": most_mixing_devices,
    "shared_weights": lambda: searches("shared_weights"),
    "default_lengths": lambda: searches("default_lengths"),
    "spaces": spaces,
    "search_held_out": lambda: search("search_held_out"),
    "macs_beside_scores": macs_beside_scores,
    "throughput": throughput,
}


def written(page: str) -> str:
    """The page with every table made anew."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
