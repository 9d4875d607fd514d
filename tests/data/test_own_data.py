"""Training on data as they are: the pair is called with what a loop of Pyro's own SVI would call it with."""

import warnings
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ppgen
from ppgen.data import as_dataset
from ppgen.inference import ELBO, Beta, NonSaturating
from ppgen.models import GAN, VAE
from ppgen.report.page import render
from ppgen.schedules import linear
from tests.marks import thorough

N = 12
EAGER: dict[str, Any] = {"eager": True, "validate_every": 2, "lr": 1e-2}
GENERATOR = torch.Generator().manual_seed(3)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(N, *shape, generator=GENERATOR, dtype=dtype)


X, COUNTS, Y = normal(3, dtype=torch.float64), torch.arange(N) % 5, torch.arange(N) % 2

KINDS: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
    "float64": (X, (X,)),
    "integers": (COUNTS[:, None], (COUNTS[:, None],)),
    "a vector of integers": (COUNTS, (COUNTS,)),
    "sequences": (series := normal(4, 2), (series,)),
    "pictures": (bytes_ := normal(1, 5, 5).byte(), (bytes_,)),
    "several": ((X, Y, series), (X, Y, series)),
    "an array": (X.numpy(), (X,)),
    "items": (TensorDataset(X, Y), (X, Y)),
}


class Watched(ppgen.Pair):
    """z ~ N(loc, 1), mean of x ~ N(z, 1); it keeps the arguments of every call of its model."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))
        self.calls: list[tuple[Tensor, ...]] = []

    def model(self, x: Tensor, *others: Tensor) -> None:
        self.calls.append((x, *others))
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(self.loc, 1.0).expand([len(x)]))  # (K, B)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.float().reshape(len(x), -1).mean(1))

    def guide(self, x: Tensor, *others: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.loc + 1.0, 1.0).expand([len(x)]))


def same(calls: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> bool:
    """Equal in number, type, shape, values and order."""
    pairs = zip(calls, others, strict=True)
    return len(calls) == len(others) and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_batch_is_what_a_loop_of_pyro_s_own_shows(kind: str) -> None:
    given, batch = KINDS[kind]
    ours, theirs = Watched(), Watched()
    ppgen.fit(ours, given, ELBO(), steps=2, batch_size=N, **EAGER)
    svi = pyro.infer.SVI(
        theirs.model, theirs.guide, pyro.optim.PyroOptim(torch.optim.Adam, {"lr": 0.1}), pyro.infer.Trace_ELBO()
    )
    svi.step(*batch)
    assert len(ours.calls) >= 2
    assert all(same(call, theirs.calls[-1]) for call in ours.calls)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_rows_of_the_data_and_an_epoch_shows_each_once(kind: str) -> None:
    given, batch = KINDS[kind]
    pair = Watched()
    ppgen.fit(pair, given, ELBO(), epochs=1, batch_size=4, **EAGER)
    shown = [torch.cat(parts) for parts in zip(*pair.calls[-3:], strict=True)]  # nothing is held out: no validation
    order = (shown[0].reshape(N, 1, -1) == batch[0].reshape(1, N, -1)).all(2).int().argmax(1)  # (N,)
    assert same(tuple(shown), tuple(part[order] for part in batch))
    if batch[0].is_floating_point():  # rows differ
        assert torch.equal(order.sort().values, torch.arange(N))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*list(KINDS)[:1], *thorough(list(KINDS)[1:])])
def test_compiled_steps_take_data_as_they_are(kind: str) -> None:
    given, _ = KINDS[kind]
    compiled, eager = Watched(), Watched()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # it is compiled, and does not fall back
        ppgen.fit(compiled, given, Beta(beta=linear(0.0, 1.0, 5)), steps=6, batch_size=4, lr=1e-2)
    ppgen.fit(eager, given, Beta(beta=linear(0.0, 1.0, 5)), steps=6, batch_size=4, **EAGER)
    assert torch.allclose(compiled.loc, eager.loc, atol=1e-5)  # six steps of 1e-2 in float32


def test_a_schedule_s_value_is_no_whole_number_beside_whole_numbers() -> None:
    """KL(q || p) = 1/2, so that the reported bound is that of beta = 1/2 and not of beta = 0."""
    scheduled, fixed, nothing = (
        float(ppgen.fit(Watched(), COUNTS, Beta(beta=beta), steps=1, batch_size=N, **EAGER).metrics[0]["bound"])
        for beta in (lambda step: 0.5, 0.5, 0.0)
    )  # of the same draws
    assert scheduled == pytest.approx(fixed, abs=1e-6)
    assert fixed == pytest.approx(nothing - 0.25, abs=1e-6)


def test_an_autoguide_with_latents_of_each_datum_finds_each_one_s_posterior() -> None:
    """x_n ~ N(z_n, 1), z_n ~ N(0, 10): the posterior mean is 100/101 x_n, far from that of any other order."""
    x = 5.0 * torch.arange(N, dtype=torch.float64)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 10.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    guide = AutoNormal(model)
    ppgen.fit(ppgen.pair_from(model, guide), x, ELBO(), steps=250, batch_size=N, eager=True, lr=1.0)
    error = (guide.median()["z"] - x * 100 / 101).abs().max()
    assert float(error) < 1.0  # neighbours are 4.95 apart; the posterior's standard deviation is 0.995


def test_the_default_type_may_be_float64(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        own, data = torch.randn(40, 3), ppgen.load_data("digits")
        pair = VAE(data.spec, 2, hidden=(4,))
        run = ppgen.fit(pair, data, ELBO(), steps=2, out=tmp_path, **EAGER)
        assert all(parameter.dtype == torch.float64 for parameter in pair.parameters())
        assert run.evaluate(particles=2, num_data=4).num_data == 4
        assert ppgen.load(tmp_path).evaluate(particles=2, num_data=4).log_likelihood < 0
        spec = ppgen.dataset_from(own).spec
        ppgen.fit(VAE(spec, 2, hidden=(4,)), own, Beta(beta=linear(0, 1, 2)), steps=2, **EAGER)
        ppgen.fit(GAN(spec, 2, hidden=(4,)), own, NonSaturating(hidden=(4,)), steps=2, **EAGER)
        found = ppgen.diagnose(pair, data, num_data=4, num_particles=200, questions=["importance"])
        assert found.findings[0].status != "unknown"
    finally:
        torch.set_default_dtype(torch.float32)


def test_nothing_is_held_out_and_the_run_reports_training_alone(tmp_path: Path) -> None:
    run = ppgen.fit(Watched(), X, ELBO(), steps=4, batch_size=4, out=tmp_path, **EAGER)
    assert len(run.data.train[0]) == N
    assert {line["split"] for line in run.metrics} == {"train"}
    assert all("bound" in line for line in run.metrics)
    found = run.evaluate(particles=5)
    assert (found.split, found.num_data) == ("train", N)
    with pytest.raises(ppgen.UsageError, match="hold nothing out for 'test'"):
        run.evaluate("test")
    page = render(run)
    assert "raining data" in page
    assert "Test data" not in page


def test_patience_without_validation_data_is_refused_in_one_sentence() -> None:
    with pytest.raises(ppgen.UsageError, match=r"patience waits for validation .* hold nothing out: give.*as_dataset"):
        ppgen.fit(Watched(), X, ELBO(), steps=4, patience=1, **EAGER)
    run = ppgen.fit(Watched(), as_dataset(X, valid=X[:3]), ELBO(), steps=4, patience=1, window=1, **EAGER)
    assert {line["split"] for line in run.metrics} == {"train", "valid"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_on_own_data_is_loaded_resumed_and_refuses_others(kind: str, tmp_path: Path) -> None:
    given, batch = KINDS[kind]
    options: dict[str, Any] = {**EAGER, "schedule": "constant", "batch_size": 4}
    whole = ppgen.fit(Watched(), given, ELBO(), steps=6, **options)
    ppgen.fit(Watched(), given, ELBO(), steps=3, out=tmp_path, **options)
    cut = ppgen.load(tmp_path, pair=Watched(), data=given)
    assert cut.data.sha256 == whole.data.sha256
    with pytest.raises(ppgen.UsageError, match="tensors of your own"):
        ppgen.load(tmp_path, pair=Watched())
    others = (batch[0].flip(0), *batch[1:])
    with pytest.raises(ppgen.UsageError, match="data sha256"):
        ppgen.fit(Watched(), others, ELBO(), steps=6, out=tmp_path, resume=True, **options)
    resumed = ppgen.fit(Watched(), given, ELBO(), steps=6, out=tmp_path, resume=True, **options)
    assert torch.equal(resumed.pair.loc, whole.pair.loc)
    with pytest.raises(ppgen.UsageError, match="data of shape"):
        ppgen.load(tmp_path, pair=Watched(), data=torch.zeros(N, 7, 7))


def test_diagnose_and_evaluate_take_what_fit_takes() -> None:
    options: dict[str, Any] = {"num_particles": 200, "questions": ["importance"]}
    found = ppgen.diagnose(Watched(), X.numpy(), **options)
    assert (found.split, found.num_data) == ("train", N)
    assert found.findings[0].number == ppgen.diagnose(Watched(), as_dataset(X), **options).findings[0].number
    held = ppgen.diagnose(Watched(), as_dataset(X, test=X[:3]), **options)
    assert (held.split, held.num_data) == ("test", 3)
    assert ppgen.evaluation.evaluate(Watched(), TensorDataset(X), particles=3).split == "train"


@pytest.mark.parametrize("x", [torch.zeros(N, 8, 8), torch.zeros(N, 64, dtype=torch.int64), torch.zeros(N)])
def test_a_pair_made_for_flat_rows_says_so(x: Tensor) -> None:
    pair = VAE(ppgen.dataset_from(torch.rand(N, 64)).spec, 2, hidden=(4,))
    with pytest.raises(
        ppgen.UsageError, match=r"VAE was made for floating-point rows x of shape \(N, 64\).*dataset_from"
    ):
        ppgen.fit(pair, x, ELBO(), steps=1, **EAGER)


def test_what_the_model_does_not_take_is_refused_before_training() -> None:
    pair = VAE(ppgen.dataset_from(X).spec, 2, hidden=(4,))
    with pytest.raises(ppgen.UsageError, match="batches of 2 tensors, and the model takes"):
        ppgen.fit(pair, (X.float(), Y), ELBO(), steps=1, **EAGER)
