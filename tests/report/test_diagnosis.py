"""What the report draws of units, of the aggregated posterior and of the worst data, from details by hand."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from ppgen.pages.statistics import plot_layers, plot_spreads
from ppgen.report.diagnosis import aggregated_posterior, importance_weights, latent_units
from tests.diagnosed import diagnosed, found, label_of, numbers_in

UNITS = [
    {"name": f"{site}[{i}]", "site": site, "index": i, "activity": activity, "kl": kl}
    for site, i, activity, kl in (("z1", 0, 0.001, 0.2), ("z1", 1, 0.5, -3.0), ("z2", 0, 0.9, 1.0))
]
COLLAPSE: dict[str, Any] = {"active_units": 2, "num_units": 3, "kl": -1.8, "idle": ["z1[0]"], "units": UNITS}


def test_units_stand_layer_by_layer_with_how_many_are_active(tmp_path: Path) -> None:
    section = latent_units(diagnosed(tmp_path, found("collapse", COLLAPSE)))
    assert section is not None
    (figure,) = section.figures
    assert "z2: 1 of 1 unit active; z1: 1 of 2 units active" in label_of(figure)
    assert "prior variance" in figure.caption
    assert "−1.80 nats" in figure.caption


def test_bars_of_layers_have_one_scale_and_the_most_active_first() -> None:
    layers = {"low": {"active": [(1.0, 0.2)], "idle": [(2.0, 0.0)]}, "high": {"active": [(1.0, 1.0)], "idle": []}}
    low, high = plot_layers(layers, x_label="", y_label="").figure.axes
    assert low.get_ylim() == high.get_ylim() == (0, 1.05)
    assert [[bar.get_height() for bar in group] for group in low.containers] == [[0.2], [0.0]]


def test_latents_without_an_order_are_not_joined(tmp_path: Path) -> None:
    (axes,) = plot_spreads(
        {"data": [(0.0, 1.0), (1.0, 2.0)], "prior": [(0.0, 1.0)] * 2}, x_label="", y_label=""
    ).figure.axes
    assert all(line.get_linestyle() == "None" for line in axes.lines)
    surgery = {"kl": 1.0, "mutual_information": 1.0, "standard_error": 0.1, "marginal_kl": 0.0, "log_n": 5.0}
    moments = {name: [0.0] for name in ("mean", "prior_mean")} | {
        name: [1.0] for name in ("variance", "prior_variance")
    }
    pair = {
        "draws": [[0.0]],
        "prior_draws": [[1.0]],
        "most_correlated": [0],
        "largest_correlation": 0.0,
        "normal_kl": 0.0,
    }
    details = {**surgery, "saturated": False, "latents": ["z[0]"], **moments, **pair}
    section = aggregated_posterior(diagnosed(tmp_path, found("aggregate", details)))
    assert section is not None
    assert label_of(section.figures[0]) == "1 latent of the data against the prior."


def test_the_worst_data_stand_each_over_its_k_hat(tmp_path: Path) -> None:
    per_datum = {name: [0.9, 0.1, 1.2] for name in ("k", "effective_sample_size", "weight_perplexity", "bound_gap")}
    numbers = dict.fromkeys(("median", "share_above_threshold", "share_above_0.7", "bound_gap"), 0.5)
    sizes = {"effective_sample_size": 3.0, "weight_perplexity": 3.0, "bounds": {"1": -3.0}}
    details = {**numbers, **sizes, "worst": [2, 0, 1], "per_datum": per_datum}
    section = importance_weights(diagnosed(tmp_path, found("importance", details)))
    assert section is not None
    named = re.findall(r"datum (\d): (\d\.\d+)", html.unescape(label_of(section.figures[1])))
    assert named == [("2", "1.20"), ("0", "0.90"), ("1", "0.10")]
    assert numbers_in(section.figures[1].caption) == [3]
