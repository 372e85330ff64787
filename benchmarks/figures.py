"""What a benchmark says: one JSON line per figure on standard output."""

import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure. `rate`: things a second; `ratio`: a rate against the bare path's; `ratio_p50`, `ratio_p99`: latencies
    against the bare path's, where 2 is twice as slow. `more` stands beside them in the line."""

    name: str
    rate: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    ratio_p50: float | None = None
    ratio_p99: float | None = None
    ratio: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The figure as JSON; what it does not have is left out."""
        said = asdict(self)
        more = said.pop("more")
        return json.dumps({name: _short(value) for name, value in (said | more).items() if value is not None})


def _short(value: object) -> object:
    if not isinstance(value, float):
        return value
    return round(value, 1) if abs(value) >= 100 else float(f"{value:.3g}")


def say(figure: Figure) -> None:
    """Print it at once: a run that is broken off has said what it knew."""
    sys.stdout.write(figure.line() + "\n")
    sys.stdout.flush()


def progress(sentence: str) -> None:
    """What is being done, on standard error."""
    sys.stderr.write(sentence + "\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below or at which this share of them lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency(name: str, seconds: Sequence[float], bare: Sequence[float] | None = None, **more: Any) -> Figure:
    """p50 and p99 of these, against the bare path's."""
    p50, p99 = percentile(seconds, 0.5), percentile(seconds, 0.99)
    figure: dict[str, float | None] = {"ratio_p50": None, "ratio_p99": None}
    if bare:
        bare_p50, bare_p99 = percentile(bare, 0.5), percentile(bare, 0.99)
        figure = {"ratio_p50": p50 / bare_p50, "ratio_p99": p99 / bare_p99}
        more |= {"bare_p50_ms": bare_p50 * 1000, "bare_p99_ms": bare_p99 * 1000}
    more |= {"samples": len(seconds)}
    rate = more.pop("rate", None)
    return Figure(name, rate=rate, p50_ms=p50 * 1000, p99_ms=p99 * 1000, **figure, more=more)


def taken_in_turns(name: str, ours: Sequence[Sequence[float]], bare: Sequence[Sequence[float]], **more: Any) -> Figure:
    """p50 and p99 of all turns; the ratios are medians of the turns' ratios, so that a disk that stops once in a turn
    of one path says nothing for the other. `ratio_p99_of_all`: of all turns together, such a stop included."""
    figure = latency(name, list(chain(*ours)), list(chain(*bare)), **more)
    more = figure.more | {"ratio_p99_of_all": figure.ratio_p99, "turns": len(ours)}
    return replace(figure, ratio_p50=_ratio(0.5, ours, bare), ratio_p99=_ratio(0.99, ours, bare), more=more)


def _ratio(share: float, ours: Sequence[Sequence[float]], bare: Sequence[Sequence[float]]) -> float:
    pairs = zip(ours, bare, strict=True)
    return statistics.median(percentile(mine, share) / percentile(theirs, share) for mine, theirs in pairs)


def compared(name: str, rates: Sequence[float], bare: Sequence[float], **more: Any) -> Figure:
    """Rates of interleaved rounds: the median, and the median of the rounds' ratios."""
    ratio = statistics.median(ours / theirs for ours, theirs in zip(rates, bare, strict=True))
    more |= {"bare_rate": statistics.median(bare), "rounds": len(rates)}
    return Figure(name, rate=statistics.median(rates), ratio=ratio, more=more)
