"""Numbers as people read them: a few digits and a unit. The whole report formats through these functions."""

import math

MISSING = "–"
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, never with an exponent: 0.00912, 94.5, 100."""
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    return f"{rounded:.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def milliseconds(value: float | None, digits: int = 3) -> str:
    """A latency given in milliseconds, in the unit that suits it; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    # The unit is chosen after rounding: 0.9996 ms is 1.00 ms, not 1000 µs.
    size = abs(float(f"{value:.{digits - 1}e}"))
    if size == 0 or 1 <= size < 1e3:
        return f"{significant(value, digits)} ms"
    if size >= 1e3:
        return f"{significant(value / 1e3, digits)} s"
    factor, unit = (1e3, "µs") if size >= 1e-3 else (1e6, "ns")
    return f"{significant(value * factor, digits)} {unit}"


def apart(one: float, other: float) -> tuple[str, str]:
    """Two latencies with as many digits as it takes to tell them apart (at most 6)."""
    for digits in (3, 4, 5, 6):
        texts = milliseconds(one, digits), milliseconds(other, digits)
        if one == other or texts[0] != texts[1]:
            break
    return texts


def percent(value: float | None) -> str:
    """A fraction as a percentage; never 0 or 100 % for what is not quite that."""
    if value is None or not math.isfinite(value):
        return MISSING
    for decimals in (1, 2, 3, 4):
        text = f"{value:.{decimals}%}"
        if value in (0.0, 1.0) or float(text[:-1]) not in (0.0, 100.0):
            return text
    return "under 0.0001%" if abs(value) < 0.5 else "over 99.9999%" if value < 1 else text


def count(value: float) -> str:
    """How many: whole up to 99,999, then thousands, millions, billions, then powers of ten."""
    if abs(value) < 99_999.5:
        return f"{value:,.0f}"
    for divisor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if float(f"{abs(value):.2e}") < 1e3 * divisor:
            return f"{significant(value / divisor)} {unit}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def duration(seconds: float) -> str:
    """Seconds up to two minutes, then minutes, then hours."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def interval(share: float, pictures: int) -> tuple[float, float]:
    """Where a true share lies with 95 % confidence when `pictures` gave `share` (Wilson's interval)."""
    if pictures < 1:
        return 0.0, 1.0
    z = 1.96
    centre = (share + z * z / (2 * pictures)) / (1 + z * z / pictures)
    half = z / (1 + z * z / pictures) * math.sqrt(share * (1 - share) / pictures + (z / pictures) ** 2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)
