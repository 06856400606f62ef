"""Tables of docs/RESULTS.md about trained networks: what searches and their rivals came to."""

import statistics
from typing import Any

from markdown_tables import markdown, read, span


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
            f"`{row['data']}`, seed {row['seed']}"
            + (", int8" if row["facts"]["precision"] == "int8" else ""),
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
                span([row["macs"] / 1e6 for row in same], ".1f"),
                span([1e3 * row["measured_ms"] for row in same], ".0f"),
                f"**{100 * statistics.mean(row['top1'] for row in same):.1f} %** ({each})",
            ]
        )
    return markdown(
        ["operators compared at", "shape", "10^6 MACs", "measured µs", "top-1 (each seed)"], table
    )


def searches(name: str) -> str:
    """Whole searches by how they were made, beside runs without a search: what they cost, and what they came to."""
    ways: dict[str, list[dict[str, Any]]] = {}
    for row in read(name)["runs"]:
        ways.setdefault(row["way"], []).append(row)
    table = []
    for way, same in ways.items():
        first = same[0]
        shares = {name: [100 * row[name] for row in same] for name in ("judged", "top1")}
        told = [
            f"**{statistics.mean(values):.1f} %** ({', '.join(f'{value:.1f}' for value in values)})"
            for values in shares.values()
        ]
        cost = f"{first['supernet_pictures'] / 1e3:.0f} k, {first['scored']}, {first['epochs']}"
        macs = span([row["macs"] / 1e6 for row in same], ".1f")
        mixing = [row["mixing_macs"] / 1e6 for row in same if "mixing_macs" in row]
        told_macs = f"{macs}; {span(mixing, '.1f')}" if mixing else macs
        measured = span([1e3 * row["measured_ms"] for row in same], ".0f")
        table.append([way, cost, told_macs, measured, *told])
    counted = "10^6 MACs; of these mixing" if "mixing_macs" in read(name)["runs"][0] else "10^6 MACs"
    head = ["supernet", "its pictures, networks scored, the winner's epochs", counted, "measured µs"]
    return markdown([*head, "top-1 of 10,000 other training pictures", "top-1, test split"], table)


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
                *mixing(first),
                f"{first['params'] / 1e3:.0f} k",
                f"{1e3 * first['measured_ms']:.0f}",
                f"{epochs}",
                f"**{100 * statistics.mean(row['top1'] for row in same):.1f} %**"
                + (f" ({each})" if len(same) > 1 else ""),
            ]
        )
    counted = ["10^6 MACs", *(["of these mixing"] if mixing(read(name)["networks"][0]) else [])]
    head = ["network", "width", "layers", *counted, "parameters", "measured µs", "epochs", "top-1"]
    return markdown(head, table)


def mixing(row: dict[str, Any]) -> list[str]:
    """A cell with the mixing MACs of a network, where they are on file."""
    return [f"{row['mixing_macs'] / 1e6:.1f}"] if "mixing_macs" in row else []


def most_mixing() -> str:
    """What mixes most at each width within a budget, beside single operators."""
    rows = read("most_mixing")["rows"]
    single = list(rows[0]["single"])

    def told(row: dict[str, Any]) -> str:
        return f"{row['mixing_macs'] / 1e6:.1f} ({1e3 * row['measured_ms']:.0f})"

    table = [
        [f"{row['width']:g}", f"**{told(row)}**", *(told(row["single"][name]) for name in single)]
        for row in sorted(rows, key=lambda row: row["width"])
    ]
    return markdown(["width", "the most that keeps the budget", *(f"`{name}`" for name in single)], table)


def most_mixing_devices() -> str:
    """The most mixing MACs within a budget on each device, of one operator at all layers and of a mixture."""
    files = [read("most_mixing"), read("most_mixing_devices")]
    table = []
    for given in (row for file in files for row in file["alone"]):
        shape = {name: given[name] for name in ("device", "preset", "depth", "image_size", "budget_ms")}
        mixtures = [row for file in files for row in file["rows"] if shape.items() <= row.items()]
        mixed = max(mixtures, key=lambda row: row["mixing_macs"])
        widths = [row["width"] for row in mixtures]
        single = {name: row for name, row in given["single"].items() if row}
        best = max((name for name in single if name.startswith("mb")), key=lambda n: single[n]["mixing_macs"])

        def told(row: dict[str, Any]) -> str:
            micro = f"{1e3 * row['measured_ms']:.0f}"
            return f"{row['mixing_macs'] / 1e6:.1f} million, width {row['width']:g} ({micro})"

        table.append(
            [
                f"{given['device'].replace('?threads=1&precision=', ' ')}, {given['image_size']} px",
                f"{1e3 * given['budget_ms']:.0f}",
                told(single["sep_k3"]) if "sep_k3" in single else "none",
                f"`{best}` {told(single[best])}",
                f"**{told(mixed)}**, of {len(widths)} from {min(widths):g} to {max(widths):g}",
                f"{mixed['mixing_macs'] / single[best]['mixing_macs']:.2f}",
            ]
        )
    head = [
        "device",
        "budget, µs",
        "`sep_k3`",
        "best bottleneck alone",
        "the most of a mixture at some widths",
    ]
    return markdown([*head, "against the bottleneck"], table)
