"""The one evaluation: a log-likelihood, known up to log Z or whole, and the measures beside it."""

import math
from collections.abc import Iterator
from typing import ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import Pair
from ppgen.chains.log_z import LogZ
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import Case, Measure, evaluate
from ppgen.evaluation.bounds import bounds
from ppgen.models import RBM, VAE
from ppgen.pairs.log_weights import log_weight_chunks
from tests.implicit import Push, plane

SPEC = DataSpec("bits", 6, "binary")


def dataset(x: Tensor) -> Dataset:
    """All splits the same."""
    return Dataset(SPEC, (x,), (x,), (x,))


def data(num: int = 40) -> Dataset:
    """Random bits."""
    return dataset(torch.rand(num, 6).round())


def machine() -> RBM:
    """A random machine of 6 visible and 4 hidden units."""
    pair = RBM(SPEC, 4)
    torch.nn.init.normal_(pair.weight)
    return pair


def test_the_log_likelihood_of_every_state_is_that_of_a_distribution() -> None:
    """Each state twice as often as p says it is: the probabilities that evaluate gives sum to one."""
    pair = machine()
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)  # (64, 6)
    log_z = ppgen.log_z(pair, exact=True)
    each = [evaluate(pair, dataset(state.expand(2, -1)), particles=1, log_z=log_z).log_likelihood for state in states]
    assert math.fsum(map(math.exp, each)) == pytest.approx(1, abs=1e-5)


def test_it_is_minus_the_free_energy_less_log_z_at_any_number_of_particles() -> None:
    pair, bits, log_z = machine(), data(), LogZ(3.0, 0.4, False)
    one, many = (evaluate(pair, bits, particles=K, log_z=log_z) for K in (1, 50))
    truth = -float(pair.free_energy(bits.test[0]).detach().mean()) - 3.0
    assert one.log_likelihood == pytest.approx(truth, abs=1e-5)
    assert many.log_likelihood == pytest.approx(truth, abs=1e-5)
    assert [point.num_particles for point in many.curve] == [1, 2, 5, 10, 20, 50]
    assert all(point.log_likelihood == pytest.approx(truth, abs=1e-5) for point in many.curve)


def test_the_standard_error_holds_that_of_log_z() -> None:
    pair, bits = machine(), data()
    without = evaluate(pair, bits, particles=1, log_z=LogZ(3.0, 0.0, True)).standard_error
    assert without == pytest.approx(float(pair.free_energy(bits.test[0]).detach().std()) / math.sqrt(40), rel=1e-4)
    found = evaluate(pair, bits, particles=1, log_z=LogZ(3.0, 0.4, False))
    assert found.standard_error == pytest.approx(math.hypot(without, 0.4))


def test_log_z_is_estimated_where_none_is_given() -> None:
    pair = machine()
    found = evaluate(pair, data(), particles=1, num_data=10)
    assert found.log_z is not None
    assert found.log_z.num_temperatures == 10_000
    assert abs(found.log_z.value - ppgen.log_z(pair, exact=True).value) < 4 * found.log_z.standard_error + 1e-4
    assert set(found.to_json()["log_z"]) >= {"value", "standard_error", "exact"}


def test_documents_of_several_lengths_have_a_log_z_each() -> None:
    spec = DataSpec("words", 6, "counts")
    x = torch.tensor([[1.0, 2, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 2, 1, 1, 0, 0]])
    pair, documents = RBM(spec, 4, length=3), Dataset(spec, (x,), (x,), (x,))
    of_three = evaluate(pair, documents, particles=1, num_data=2, log_z=LogZ(1.0, 0.1, False))
    assert of_three.log_likelihood == pytest.approx(float(-pair.free_energy(x[:2]).detach().mean()) - 1.0, rel=1e-5)
    found = evaluate(pair, documents, particles=1, log_z={"exact": True})
    three, four = (_of_length(pair, n) for n in (3, 4))
    each = -pair.free_energy(x).detach() - torch.tensor([three, three, four])
    assert found.log_likelihood == pytest.approx(float(each.mean()), rel=1e-5)
    assert found.standard_error == pytest.approx(float(each.std()) / math.sqrt(3), rel=1e-4)
    assert found.method == "enumerated"
    with pytest.raises(UsageError, match="one log Z for each length of documents, got none for 3 words"):
        evaluate(pair, documents, particles=1, log_z=LogZ(1.0, 0.1, False))


def _of_length(pair: RBM, length: int) -> float:
    twin = RBM(DataSpec("words", 6, "counts"), 4, length=length)
    twin.load_state_dict(pair.state_dict())
    return float(twin.exact_log_z())


def test_a_normalised_pair_has_none() -> None:
    assert evaluate(VAE(SPEC, 2), data(), particles=2).to_json()["log_z"] is None


def test_it_says_how_the_log_likelihood_was_come_by() -> None:
    bits = data()
    methods = [evaluate(machine(), bits, particles=1, log_z=LogZ(3.0, 0.0, exact)).method for exact in (True, False)]
    assert [evaluate(VAE(SPEC, 2), bits, particles=2).method, *methods] == ["bound", "enumerated", "annealed"]


def test_a_log_z_for_a_normalised_pair_is_refused() -> None:
    with pytest.raises(UsageError, match="whose log Z is 0: leave it out"):
        evaluate(VAE(SPEC, 2), data(), particles=2, log_z=LogZ(3.0, 0.0, True))


def test_a_split_of_one_datum_has_no_error_bar_and_is_refused() -> None:
    with pytest.raises(UsageError, match="split 'test' has 1"):
        evaluate(VAE(SPEC, 2), data(1), particles=2)


def _ones(case: Case) -> Iterator[Measure]:
    yield Measure("ones", float(case.batch[0].mean()), 0.25, "share of ones")


def _noise(case: Case) -> Iterator[Measure]:
    yield Measure("noise", float(torch.rand(())), None, "a draw")


def test_a_measure_stands_at_the_top_level_of_the_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgen.evaluation.core.MEASURES", [_ones, _noise])
    bits = data()
    found = evaluate(VAE(SPEC, 2), bits, particles=2, num_data=20).to_json()
    assert found["ones"] == pytest.approx(float(bits.test[0][:20].mean()))
    assert found["ones_standard_error"] == 0.25
    assert "noise_standard_error" not in found
    assert [measure["name"] for measure in found["measures"]] == ["ones", "noise"]


class Echo(Pair):
    """x is the label y, in both features."""

    implicit: ClassVar[bool] = True

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", dist.Delta(y[:, None].expand_as(x).float(), event_dim=1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        pass


def test_samples_are_made_for_the_labels_in_turn() -> None:
    spec = DataSpec("labels", 2, "real", num_classes=3)
    x, y = torch.randn(7, 2), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    case = Case(Echo(), Dataset(spec, (x, y), (x, y), (x, y)), "test", (x, y), 1, 0, False, num_samples=1003)
    assert torch.equal(case.samples[:, 0], y.repeat(144)[:1003].float())


def test_samples_are_the_same_for_the_same_seed_and_differ_from_chunk_to_chunk() -> None:
    data = plane(20)
    cases = [Case(Push(data.spec), data, "test", data.test, 1, seed, False, 1000) for seed in (0, 0, 1)]
    one, again, other = (case.samples for case in cases)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len(one.unique(dim=0)) == 1000


def test_a_measure_does_not_depend_on_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, bits = VAE(SPEC, 2), data()
    monkeypatch.setattr("ppgen.evaluation.core.MEASURES", [_noise, _noise])
    first, second = evaluate(pair, bits, particles=2).measures
    other = evaluate(pair, bits, particles=3).measures[0]
    assert first == second == other


def test_bits_per_dimension_are_those_of_the_log_likelihood_and_all_data_are_counted() -> None:
    spec = DataSpec("grey", 6, "quantised", levels=4)
    x = torch.randint(0, 4, (9, 6)) / 3
    found = evaluate(VAE(spec, latent_dim=2, hidden=(3,)), Dataset(spec, (x,), (x,), (x,)), particles=2)
    assert found.bits_per_dim == pytest.approx(-found.log_likelihood / (6 * math.log(2)))
    assert found.num_data == 9


def test_bounds_of_data_in_chunks_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, x = machine(), torch.rand(7, 6).round()
    whole = bounds(pair, (x,), particles=2)
    monkeypatch.setattr("ppgen.pairs.log_weights._CELLS", 12)
    parts = bounds(pair, (x,), particles=2)
    assert len(list(log_weight_chunks(pair, (x,), 1))) > 1
    assert all(torch.allclose(parts[size], whole[size]) for size in whole)
