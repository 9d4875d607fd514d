"""Bayes nets against their enumerated tables: the burglar alarm of Russell and Norvig, and small ones of one's own."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from scipy.stats import chi2
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import EM, Gibbs
from ppgen.models import BayesNet

ALARM = "P(J|A)P(M|A)P(A|B,E)P(B)P(E)"
TABLES: dict[str, Any] = {
    "B": [0.999, 0.001],
    "E": [0.998, 0.002],
    "A": [[[0.999, 0.001], [0.71, 0.29]], [[0.06, 0.94], [0.05, 0.95]]],
    "J": [[0.95, 0.05], [0.10, 0.90]],
    "M": [[0.99, 0.01], [0.30, 0.70]],
}
CALLS = DataSpec("calls", 2, "binary")
COMMON: dict[str, Any] = {  # a network like the alarm's, where nothing is rare
    "B": [0.7, 0.3],
    "E": [0.6, 0.4],
    "A": [[[0.9, 0.1], [0.5, 0.5]], [[0.3, 0.7], [0.2, 0.8]]],
    "J": [[0.8, 0.2], [0.25, 0.75]],
    "M": [[0.7, 0.3], [0.1, 0.9]],
}
STATES: list[tuple[int, int, int]] = [(b, e, a) for b in (0, 1) for e in (0, 1) for a in (0, 1)]
ROWS = torch.cartesian_prod(*[torch.arange(2.0)] * 2).double()


def alarm(tables: Any = TABLES, **options: Any) -> BayesNet:
    return BayesNet(CALLS, ALARM, observed=["J", "M"], tables=tables, **options).double()


def by_hand(tables: dict[str, Any], b: int, e: int, a: int, j: int, m: int) -> float:
    given: list[float] = [tables["B"][b], tables["E"][e], tables["A"][b][e][a], tables["J"][a][j], tables["M"][a][m]]
    return float(torch.tensor(given, dtype=torch.float64).prod())


def test_queries_are_those_of_russell_and_norvig() -> None:
    pair = alarm()
    assert float(pair.query("B", J=1, M=1)[1]) == pytest.approx(0.284, abs=5e-4)
    assert float(pair.query("J", "M", "A", B=0, E=0)[1, 1, 1]) * 0.999 * 0.998 == pytest.approx(0.000628, abs=5e-7)


def test_a_cause_that_is_known_explains_the_other_away() -> None:
    pair = alarm()
    alone, explained = float(pair.query("B", A=1)[1]), float(pair.query("B", A=1, E=1)[1])
    assert alone == pytest.approx(0.3736, abs=1e-4)
    assert explained == pytest.approx(0.00327, abs=1e-5)
    assert float(pair.query("B", E=1)[1]) == pytest.approx(0.001)  # before the alarm they are independent


def test_every_query_is_the_sum_by_hand() -> None:
    pair = alarm(COMMON)
    table = torch.zeros(2, 2, 2, 2, 2, dtype=torch.float64)
    for states in itertools.product(range(2), repeat=5):
        table[states] = by_hand(COMMON, *states)
    order = ("B", "E", "A", "J", "M")
    for wanted, known in itertools.permutations(order, 2):
        both = table.sum([place for place, name in enumerate(order) if name not in (wanted, known)])
        both = both if order.index(known) < order.index(wanted) else both.T  # (known, wanted)
        for state in range(2):
            torch.testing.assert_close(pair.query(wanted, **{known: state}), both[state] / both[state].sum())
    torch.testing.assert_close(pair.query("M", "B"), table.sum((1, 2, 3)).T)


def test_evidence_and_posterior_are_those_of_the_table_and_of_pyro() -> None:
    pair = alarm(COMMON)
    expected = torch.stack(
        [torch.tensor([by_hand(COMMON, *h, int(j), int(m)) for h in STATES]) for j, m in ROWS]
    ).double()
    torch.testing.assert_close(pair.log_evidence(ROWS).exp(), expected.sum(1), rtol=1e-6, atol=0)
    order = [("B", "E", "A").index(name) for name in pair.latent]
    posterior = (expected / expected.sum(1, keepdim=True)).reshape(4, 2, 2, 2).permute(0, *[1 + i for i in order])
    torch.testing.assert_close(pair.posterior(ROWS), posterior, rtol=1e-6, atol=1e-9)
    with pyro.validation_enabled(False):
        loss = TraceEnum_ELBO(max_plate_nesting=1).loss(pair.model, pair.guide, ROWS)
    assert -loss == pytest.approx(float(pair.log_evidence(ROWS).sum()), rel=1e-10)


def test_what_is_observed_may_be_a_cause_of_what_is_latent() -> None:
    """B and M seen, the rest not: the model draws in another order than the arrows', and has the same density."""
    pair = BayesNet(CALLS, ALARM, observed="[B, M]", tables=COMMON).double()
    seen = [
        sum(by_hand(COMMON, int(b), e, a, j, int(m)) for e, a, j in itertools.product(range(2), repeat=3))
        for b, m in ROWS
    ]
    torch.testing.assert_close(pair.log_evidence(ROWS).exp(), torch.tensor(seen).double(), rtol=1e-6, atol=0)


def test_draws_are_of_the_joint_table() -> None:
    """Chi-square on the 4 rows of 4,000 draws; false alarm 1e-6."""
    torch.manual_seed(0)
    pair = alarm(COMMON)
    drawn: Any = pyro.poutine.trace(pyro.poutine.uncondition(pair.model)).get_trace(ROWS.repeat(1_000, 1))
    x = drawn.nodes["x"]["value"]
    found, expected = (2 * x[:, 0] + x[:, 1]).long().bincount(minlength=4), 4_000 * pair.log_evidence(ROWS).exp()
    assert float(((found - expected).square() / expected).sum()) < chi2.isf(1e-6, 3)


def test_the_factorised_guide_reaches_the_nearest_product_to_the_table() -> None:
    """With one latent variable that is the posterior itself, and the bound log p(x)."""
    tables = {"A": [0.6, 0.4], "J": COMMON["J"], "M": COMMON["M"]}
    pair = BayesNet(CALLS, "P(J|A)P(M|A)P(A)", observed=["J", "M"], tables=tables, guide="factorised").double()
    objective, optimizer = (
        ppgen.make_objective("enumerate"),
        torch.optim.LBFGS(pair.parameters(), max_iter=50, line_search_fn="strong_wolfe"),
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective.differentiable_loss(pair.model, pair.guide, ROWS)
        loss.backward()
        return loss

    optimizer.step(closure)
    bound = -float(closure().detach())
    assert bound == pytest.approx(float(pair.log_evidence(ROWS).sum()), abs=1e-4)
    torch.testing.assert_close(pair.guides["A"].softmax(-1).detach(), pair.posterior(ROWS), rtol=0, atol=1e-3)


def test_sweeps_keep_the_enumerated_posterior() -> None:
    """Chi-square on the 8 states of the latent of 8,000 data that begin at draws of it; false alarm 1e-6."""
    torch.manual_seed(0)
    pair = alarm(COMMON)
    x = torch.ones(8_000, 2, dtype=torch.float64)
    posterior = pair.posterior(x[:1]).flatten()
    start = torch.multinomial(posterior, 8_000, replacement=True)
    state = {name: start // 2 ** (2 - place) % 2 for place, name in enumerate(pair.latent)}
    state, _, _ = pair.gibbs_sweep(state, x, learn_prior=False)
    end = sum(value * 2 ** (2 - place) for place, value in enumerate(state.values()))
    found, expected = torch.as_tensor(end).bincount(minlength=8), 8_000 * posterior
    assert float(((found - expected).square() / expected).sum()) < chi2.isf(1e-6, 7)
    assert float((end != start).double().mean()) > 0.2  # and they move


def test_chains_forget_where_they_began() -> None:
    """All at zero, after 40 sweeps each state is as frequent as the posterior says; false alarm 1e-6."""
    torch.manual_seed(1)
    pair, x = alarm(COMMON), torch.ones(4_000, 2, dtype=torch.float64)
    state = {name: torch.zeros(4_000, dtype=torch.long) for name in pair.latent}
    for _ in range(40):
        state, _, _ = pair.gibbs_sweep(state, x, learn_prior=False)
    end = torch.as_tensor(sum(value * 2 ** (2 - place) for place, value in enumerate(state.values())))
    expected = 4_000 * pair.posterior(x[:1]).flatten()
    assert float(((end.bincount(minlength=8) - expected).square() / expected).sum()) < chi2.isf(1e-6, 7)


def drawn(num: int) -> Tensor:
    """Rows of B, E, A, J, M of the common network."""
    every = torch.cartesian_prod(*[torch.arange(2)] * 5)
    weights = torch.tensor([by_hand(COMMON, *row.tolist()) for row in every])
    generator = torch.Generator().manual_seed(0)
    return every[torch.multinomial(weights, num, replacement=True, generator=generator)].double()


def test_complete_data_give_the_tables_of_their_counts() -> None:
    x = drawn(500)
    pair = BayesNet(DataSpec("whole", 5, "binary", num_data=500), ALARM, observed=list("BEAJM"), smoothing=0.5).double()
    ppgen.fit(pair, x, EM(), epochs=1, batch_size=64, seed=0, progress=False)
    assert pair.latent == ()
    of = x[(x[:, 0] == 1) & (x[:, 1] == 0)]
    expected = (of[:, 2].sum() + 0.5) / (len(of) + 1)
    assert float(pair.query("A", B=1, E=0)[1]) == pytest.approx(float(expected), rel=1e-6)


def test_em_never_lowers_the_evidence_and_gibbs_comes_near_it() -> None:
    x = drawn(400)[:, 2:]  # A, J, M
    spec = DataSpec("effects", 3, "binary", num_data=400)
    torch.manual_seed(0)
    pair = BayesNet(spec, ALARM, observed=["A", "J", "M"], smoothing=0.0).double()
    values = [float(pair.log_evidence(x).mean().detach())]
    for _ in range(8):
        ppgen.fit(pair, x, EM(), epochs=1, batch_size=400, seed=0, progress=False)
        values.append(float(pair.log_evidence(x).mean().detach()))
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(values))
    other = BayesNet(spec, ALARM, observed=["A", "J", "M"]).double()
    ppgen.fit(other, x, Gibbs(burn_in=20), steps=60, batch_size=400, seed=0, progress=False)
    assert float(other.log_evidence(x).mean().detach()) == pytest.approx(values[-1], abs=0.02)


def test_tables_of_a_file_are_those_of_a_dict(tmp_path: Path) -> None:
    (tmp_path / "alarm.json").write_text(json.dumps(TABLES))
    pair = alarm(str(tmp_path / "alarm.json"))
    torch.testing.assert_close(pair.query("B", J=1, M=1), alarm().query("B", J=1, M=1))
    assert not any(parameter.requires_grad for parameter in pair.parameters())


def test_more_than_two_states() -> None:
    spec = DataSpec("levels", 1, "quantised", levels=3)
    tables = {"Z": [0.1, 0.2, 0.3, 0.4], "X": torch.eye(3)[[0, 1, 2, 2]].tolist()}
    pair = BayesNet(spec, "P(X|Z)P(Z)", observed="X", tables=tables, num_states=4).double()
    x = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(pair.log_evidence(x).exp(), torch.tensor([0.1, 0.2, 0.7]).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(pair.query("Z", X=2)[2:], torch.tensor([3 / 7, 4 / 7]).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("", "a Bayes net needs a formula"),
        ("P(J|A)Q(A)", "formula must be factors such as .* got 'Q\\(A\\)' in it"),
        ("P(J|A)P(A|J)", "formula has a cycle, A -> J -> A|formula has a cycle, J -> A -> J"),
        ("P(J)P(M|A)", "formula has 'A' as a parent of 'M' and no P\\(A\\): add it"),
        ("P(J)P(J|M)P(M)", "formula has two factors of 'J'"),
        ("P(J|M,M)P(M)", "formula has a parent of 'J' twice"),
    ],
)
def test_formulas_that_are_no_network_are_refused(formula: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        BayesNet(CALLS, formula)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"A": [[[0.9, 0.1], [0.5, 0.5]], [[0.6, 0.3], [0.2, 0.8]]]},
            "row B=1, E=0 is .* which sums to 0.9: correct it",
        ),
        ({"B": [1.5, -0.5]}, "the table of 'B' must have rows of probabilities"),
        ({"J": [0.5, 0.5]}, "the table of 'J' must have shape \\(2, 2\\), the states of A, J, got \\(2,\\)"),
        ({"J": [["a", "b"], [1, 2]]}, "the table of 'J' must be numbers of shape"),
        ({"Q": [0.5, 0.5]}, "tables have the variable 'Q'"),
    ],
)
def test_tables_that_are_none_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        alarm({**COMMON, **change})


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        (DataSpec("real", 2, "real"), {"observed": ["J", "M"]}, "BayesNet needs states of discrete variables"),
        (CALLS, {}, "observed must name the variable of each of the 2 columns of data 'calls', got B, E, A, J, M"),
        (CALLS, {"observed": ["J", "Q"]}, "observed has the variable 'Q'"),
        (
            CALLS,
            {"observed": ["J", "M"], "tables": "nowhere.json"},
            "tables must name a JSON or CSV file, got",
        ),
        (CALLS, {"observed": ["J", "M"], "tables": {"B": [0.5, 0.5]}}, "tables lack that of 'E': give all"),
        (
            CALLS,
            {"observed": ["J", "M"], "num_states": 1000},
            "it would have 4,000,000,000 numbers, more than 1,048,576",
        ),
    ],
)
def test_what_cannot_be_made_is_refused(spec: DataSpec, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        BayesNet(spec, ALARM, **options)


LAWN = "variable,given,no,yes\nR,,0.8,0.2\nS,,0.5,0.5\nW,S=0 R=0,1,0\nW,S=1 R=0,0.1,0.9\nW,R=1 S=0,0.2,0.8\n"


def lawn(text: str, tmp_path: Path) -> BayesNet:
    (tmp_path / "lawn.csv").write_text(text)
    spec = DataSpec("lawn", 1, "binary")
    return BayesNet(spec, "P(W|R,S)P(R)P(S)", observed=["W"], tables=str(tmp_path / "lawn.csv"))


def test_tables_are_read_from_rows_of_a_csv_file(tmp_path: Path) -> None:
    pair = lawn(LAWN + "W,R=1 S=1,0.01,0.99\n", tmp_path)
    joint = {(0, 0): 0.0, (0, 1): 0.8 * 0.5 * 0.9, (1, 0): 0.2 * 0.5 * 0.8, (1, 1): 0.2 * 0.5 * 0.99}  # p(R, S, W = 1)
    total = sum(joint.values())
    for (rain, sprinkler), value in joint.items():
        assert float(pair.query("R", "S", W=1)[rain, sprinkler]) == pytest.approx(value / total, abs=1e-6)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", r"the table of W lacks the row R=1 S=1: add it"),
        ("W,R=1,0.01,0.99", r"line 7, must be a row of its own, W,R=0 S=0,0.9,0.1: .* got 'W,R=1,0.01,0.99'"),
        ("W,R=1 S=1 Q=0,0.01,0.99", "line 7, must be a row of its own"),
        ("W,R=1 S=0,0.01,0.99", "line 7, must be a row of its own"),
        ("W,R=1 S=1,much,0.99", "line 7, must be a row of its own"),
        ("W,R=1 S=1,1", "the table of W has rows of different lengths"),
        ("W,R=1 S=1,0.02,0.99", "row R=1, S=1 is .* which sums to 1.01: correct it"),
        ("X,,0.1,0.9", "line 7, is of the variable 'X'"),
    ],
)
def test_rows_that_are_none_are_refused(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        lawn(LAWN + line, tmp_path)


def test_queries_without_an_answer_are_refused() -> None:
    sure = {"A": [1.0, 0.0], "J": [[1.0, 0.0], [0.0, 1.0]]}
    pair = BayesNet(DataSpec("one", 1, "binary"), "P(J|A)P(A)", observed="J", tables=sure)
    with pytest.raises(UsageError, match=r"what is given, \{'J': 1\}, has the probability zero"):
        pair.query("A", J=1)
    with pytest.raises(UsageError, match="the network has no variable 'Q'"):
        pair.query("Q")
    with pytest.raises(UsageError, match="J has the states 0 to 1, got J=2"):
        pair.query("A", J=2)


def test_counts_that_tell_nothing_of_a_row_are_refused_without_smoothing() -> None:
    x = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    pair = BayesNet(DataSpec("two", 2, "binary", num_data=2), "P(J|A)P(A)", observed=["A", "J"], smoothing=0.0).double()
    with pytest.raises(UsageError, match="no datum has A=1, so that the table of 'J' is not known there: give smooth"):
        ppgen.fit(pair, x, EM(), epochs=1, batch_size=2, progress=False)
