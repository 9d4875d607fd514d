"""docs/performance.md from what the benchmarks have kept: every table of the page is made of `results/*.json`.

    python benchmarks/page.py            # rewrite the page
    python benchmarks/page.py --check    # exit code 1 if it is stale; nothing is written

Nothing is measured here, and nothing but the standard library and scipy is needed. The page says where a table goes
by two markers, `<!-- results: steps -->` and `<!-- end of results -->`, each on a line of its own.
"""

import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contests import CONTESTS, ESTIMATORS
from scipy.optimize import least_squares
from scipy.stats import binom

__all__ = ["exponent", "interval", "main", "render"]

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "performance.md", Path(__file__).resolve().parent / "results"
MARKED = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
COVERAGE = 0.95

Found = dict[str, Any]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the median of what the values are draws of: two of them in order, at 95 % where there are enough.

    It covers the median with the probability that of n fair coins more than k, and fewer than n - k, show heads.
    """
    ordered, n = sorted(values), len(values)
    k = next((k for k in reversed(range(n // 2)) if 1 - 2 * binom.cdf(k, n, 0.5) >= COVERAGE), 0)
    return ordered[k], ordered[n - 1 - k]


def exponent(sizes: Sequence[float], times: Sequence[float]) -> tuple[float, float]:
    """The fixed part a and the exponent s of a + b n^s, least squares of the logarithms."""

    def residuals(parameters: Any) -> Any:
        fixed, factor, power = np.exp(parameters[0]), np.exp(parameters[1]), parameters[2]
        return np.log((fixed + factor * np.asarray(sizes) ** power) / np.asarray(times))

    start = (math.log(times[0] / 2), math.log(times[-1] / sizes[-1]), 1.0)
    fixed, _, power = least_squares(residuals, start).x
    return math.exp(fixed), float(power)


def machines() -> list[Found]:
    """What was kept, one entry a machine, by name; the GPU's table is in docs/gpu.md."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob("*.json"))]
    return [entry for entry in found if "machine" in entry]


def ratios(peers: Found, peer: str) -> list[float]:
    """Ours over the peer's, round by round."""
    return [a / b for a, b in zip(peers["ours"]["turns"], peers[peer]["turns"], strict=True)]


def ran(peers: Found) -> list[str]:
    """The peers that went through all rounds."""
    return [name for name, row in peers.items() if not row.get("error")]


def steps(machine: Found) -> str:
    """A table for each contest: medians, ratios with their intervals, memory and first steps."""
    text = ""
    entries = list(machine.get("contests", {}).values())
    for name, contest in CONTESTS.items():
        mine = [entry for entry in entries if entry["contest"] == name]
        if mine:
            text += f"\n**{contest.title}**\n\n" + head(
                "B", "K", "peer", "ms", "ours / peer", "MiB", "first step, s", "again, s"
            )
            text += "".join(line for entry in mine for line in lines(entry))
            text += "".join(f"\n{note}\n" for entry in mine for note in notes(entry))
    return text


def lines(entry: Found) -> list[str]:
    """The rows of one case."""
    peers, case = entry["peers"], (str(entry["batch_size"]), str(entry["num_particles"]))
    found = []
    for name in ran(peers):
        row = peers[name]
        ratio = "" if name == "ours" or "ours" not in ran(peers) else spread(ratios(peers, name))
        ms = number(statistics.median(row["turns"]))
        firsts = (f"{row[name]:.1f}" if name in row else "" for name in ("first_step", "first_step_again"))
        found.append(cells(*case, f"`{name}`", ms, ratio, f"{row['peak_memory']:.0f}", *firsts))
    return found


def notes(entry: Found) -> list[str]:
    """When and how a case was run, and who could not."""
    case = f"B = {entry['batch_size']}, K = {entry['num_particles']}"
    failed = [f"`{name}`: {row['error'].splitlines()[0]}" for name, row in entry["peers"].items() if row.get("error")]
    said = f"{case}: {entry['date']}, {entry['rounds']} rounds, load {entry['load'][0]} to {entry['load'][1]}."
    return [said + (" Not run: " + "; ".join(failed) + "." if failed else "")]


def slopes(machine: Found) -> str:
    """How our step's time grows."""
    text = head("along", "sizes", "ms", "fixed part, ms", "exponent beyond it")
    for entry in machine.get("slopes", {}).values():
        sizes = [int(size) for size in entry["turns"]]
        rounds = list(zip(*entry["turns"].values(), strict=True))
        medians = [statistics.median(turns) for turns in entry["turns"].values()]
        fixed, power = exponent(sizes, medians)
        among = [exponent(sizes, times)[1] for times in rounds]
        text += cells(
            entry["title"],
            ", ".join(map(str, sizes)),
            ", ".join(map(number, medians)),
            number(fixed),
            f"{power:.2f} ({min(among):.2f} to {max(among):.2f} in single rounds)",
        )
    return text if "slopes" in machine else ""


def profiles(machine: Found) -> str:
    """The shares of our step above 5 percent, by kind."""
    text = head("step", "B", "K", "shares of its time above 5 %")
    for name, entry in machine.get("profiles", {}).items():
        shares = [f"{kind} {100 * share:.0f} %" for kind, share in entry["shares"].items() if share > 0.05]
        text += cells(CONTESTS[name].title, *map(str, entry["size"]), ", ".join(shares))
    return text if "profiles" in machine else ""


_ESTIMATORS = tuple(f"{name} {size}" for name, (_, _, size) in ESTIMATORS.items() if name != "sumo")  # not compiled
_COMPILED = ("gan (100, 1)", "gmmn (500, 1)", "made (100, 1)", "vae_iaf (100, 1)", *_ESTIMATORS)
_BY_HAND = ("gan (100, 1)", "gan_gp (100, 1)", *_COMPILED[1:], "sumo (100, 2)", "nade_draws (100, 1)")

ASKED: tuple[tuple[str, str, str, float], ...] = (
    *((f"vae ({b}, {k})", "handwritten_compiled", "`torch.compile` by hand", 1.0) for b, k in CONTESTS["vae"].sizes),
    ("vae (20, 1)", "numpyro_jit", "NumPyro", 1.2),
    *((f"vae ({b}, {k})", "numpyro_scan", "NumPyro's scan", 1.0) for b, k in CONTESTS["vae"].sizes if b >= 100),
    ("vae (20, 1)", "stock_pyro", "stock Pyro", 0.3),
    *((case, "handwritten", "by hand", 1.0) for case in _BY_HAND),
    *((case, "handwritten_compiled", "`torch.compile` by hand", 1.0) for case in _COMPILED),
)
"""Case, peer, its name in words, and the ratio that ours is to stay below."""


def asked(machine: Found) -> str:
    """What was asked of a step, and what came."""
    text = ""
    for case, peer, words, most in ASKED:
        peers = machine.get("contests", {}).get(case, {}).get("peers", {})
        if {"ours", peer} <= set(ran(peers)):
            found = ratios(peers, peer)
            low, high = interval(found)
            verdict = "holds" if high <= most else "does not hold" if low > most else "undecided"
            text += cells(case, words, f"at most {most}", spread(found), verdict)
    return text and head("step", "beside", "asked", "ours / peer", "") + text


TABLES: dict[str, Callable[[Found], str]] = {"steps": steps, "slopes": slopes, "profiles": profiles, "asked": asked}


def head(*names: str) -> str:
    """The first two lines of a table; numbers stand to the right."""
    words = ("peer", "along", "sizes", "step", "shares of its time above 5 %", "beside", "")
    return cells(*names) + cells(*("---" if name in words else "---:" for name in names))


def cells(*texts: str) -> str:
    """One line of a table."""
    return "| " + " | ".join(texts) + " |\n"


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def spread(values: Sequence[float]) -> str:
    """The median and its interval."""
    low, high = interval(values)
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def described(machine: Found) -> str:
    """The machine in a line."""
    found = machine["machine"]
    versions = ", ".join(f"{name} {found[name]}" for name in ("python", "torch", "pyro-ppl", "numpyro", "jax"))
    return f"### {found['name']}\n\n{versions}; {found['cores']} cores.\n\n"


def render(text: str) -> str:
    """The page with every marked table filled in."""

    def fill(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        tables = [described(machine) + found for machine in machines() if (found := TABLES[name](machine))]
        return begin + "\n" + "\n".join(tables or ["Not measured yet.\n"]) + "\n" + end

    return MARKED.sub(fill, text)


def main(arguments: Sequence[str]) -> int:
    """Rewrite the page, or say whether it is stale. Returns the exit code."""
    text = PAGE.read_text(encoding="utf-8")
    new = render(text)
    if "--check" in arguments:
        if new != text:
            print("docs/performance.md is stale: run python benchmarks/page.py")
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
