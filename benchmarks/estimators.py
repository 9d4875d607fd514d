"""Every estimator of a bound's gradient on four pairs: the table of docs/objectives.md, made of one run of ``compare``.

    python benchmarks/estimators.py --run       # measure, some minutes: results/estimators.json, and the table
    python benchmarks/estimators.py             # the table of what was kept
    python benchmarks/estimators.py --check     # exit code 1 if it is stale; nothing is written

The pairs are small enough for an exact gradient where latents are discrete; each is trained for 300 steps first, at a
batch of 20 of ``digits``. Every registered estimator that takes the pair is compared at its defaults, with four
particles where it takes any.
"""

import json
import sys
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

import ppgen
from ppgen.comparison.records import ObjectiveResult
from ppgen.objectives.bounds import Bound
from ppgen.pages.numbers import short
from ppgen.pairs.tracing import Program
from ppgen.registry import OBJECTIVES

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[1]
KEPT, PAGE = Path(__file__).resolve().parent / "results" / "estimators.json", ROOT / "docs" / "objectives.md"
BEGIN, END = "<!-- results: estimators -->\n", "<!-- end of results -->"

PAIRS: dict[str, tuple[str, dict[str, Any], str]] = {
    "sbn": ("sbn", {"layers": (8,)}, "disarm"),
    "discrete_vae": ("discrete_vae", {"units": 3, "classes": 6, "hidden": (50,)}, "reinforce"),
    "vae": ("vae", {"latent_dim": 5, "hidden": (50,)}, "iwelbo"),
    "gmvae": ("gmvae", {"classes": 4, "latent_dim": 1, "hidden": (20,)}, "reinforce"),
}
"""Model, options, and what trains it."""

COLUMNS = ("pair", "bound", "estimator", "bias", "z", "variance", "ms", "work")
WORDS = (
    "Bias is the length of E g - the gradient over that of the gradient, where it stands out at a false-alarm rate of "
    "0.001 of the whole; z is the largest of the blocks', from the exact gradient, or (¹) from the quietest unbiased "
    "estimator of the bound; work is variance × seconds."
)


def estimators(pair: ppgen.Pair, batch: tuple[Any, ...]) -> dict[str, Bound]:
    """What estimates the gradient of a function of log-weights of the pair, by name."""
    found = {}
    for name, spec in OBJECTIVES.items():
        if name == "auto" or not issubclass(spec.cls, Bound):
            continue
        made = spec.cls()
        if "num_particles" in {field.name for field in fields(made)}:
            made = replace(made, num_particles=4)
        if made.target is not None and made.refuses(Program(pair.model, pair.guide), batch) is None:
            found[name] = made
    return found


def measure(name: str) -> list[dict[str, Any]]:
    """One pair's rows."""
    model, options, trainer = PAIRS[name]
    data = ppgen.load_data("digits", binarize="threshold")
    torch.manual_seed(0)
    pair = ppgen.make_pair(model, data.spec, **options)
    batch = (data.train[0][:20],)
    ppgen.fit(pair, data, trainer, steps=300, batch_size=100, lr=3e-3, seed=0, progress=False)
    found = ppgen.compare(pair, batch, estimators(pair, batch), draws=500, seed=0)
    return [row_of(name, one) for one in found.points[0].objectives]


def row_of(pair: str, one: ObjectiveResult) -> dict[str, Any]:
    whole = one.whole
    worst = max((abs(bias.z) for bias in one.biases.values()), default=None)
    return {
        "pair": pair,
        "estimator": one.label,
        "bound": one.bound_name,
        "reference": one.reference,
        "verdict": one.verdict,
        "z": worst,
        "bias": None if whole.bias is None else whole.bias.size.value,
        "variance": whole.variance.value,
        "milliseconds": 1e3 * one.seconds.value,
        "work": whole.work.value,
    }


def table(kept: dict[str, Any]) -> str:
    """Rows of each pair and bound, the least work first."""
    text = f"{kept['cpu']}, torch {kept['torch']}. {WORDS}\n\n"
    head = "| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * 4 + " ---: |" * 4 + "\n"
    rows = sorted(kept["rows"], key=lambda row: (list(PAIRS).index(row["pair"]), str(row["bound"]), row["work"]))
    return text + head + "".join(map(line, rows))


def line(row: dict[str, Any]) -> str:
    bias = f"{short(row['bias'], 2)}, biased" if row["verdict"] == "biased" else row["verdict"]
    against = "" if row["reference"] in ("exact", None) else "¹"
    z = "" if row["z"] is None else f"{row['z']:.1f}{against}"
    numbers = " | ".join(short(row[name], 2) for name in ("variance", "milliseconds", "work"))
    return f"| `{row['pair']}` | `{row['bound']}` | `{row['estimator']}` | {bias} | {z} | {numbers} |\n"


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    if "--run" in arguments:
        from ppgen.machine.processor import processor

        warnings.simplefilter("ignore")
        rows = [row for name in PAIRS for row in measure(name)]
        KEPT.write_text(
            json.dumps({"torch": str(torch.__version__), "cpu": processor(), "rows": rows}, indent=1) + "\n"
        )
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    before = PAGE.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    after = f"{head}{BEGIN}\n{table(kept)}\n{END}{rest.partition(END)[2]}"
    if "--check" in arguments:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
