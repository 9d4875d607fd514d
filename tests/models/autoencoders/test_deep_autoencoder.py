"""The deep autoencoder: its bound is a cross-entropy, machines unroll into encoder and decoder, codes are bits."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.models import RBM, DeepAutoencoder
from ppgen.pairs.tracing import Program, run_particles

GREY = DataSpec("grey", 6, "quantised", levels=5)


def grey(num: int) -> torch.Tensor:
    return torch.randint(5, (num, 6)) / 4


@pytest.mark.parametrize("codes", ["linear", "binary"])
def test_a_log_weight_is_minus_the_cross_entropy_and_the_decay_of_the_code(codes: Any) -> None:
    pair, x = DeepAutoencoder(GREY, (4, 2), codes=codes), grey(5)
    one = run_particles(Program(pair.model, pair.guide), (x,), 3)
    z = one.guide_sites["z"]["value"]  # (K, B, latent)
    outputs = pair.decode(z.sigmoid() if codes == "binary" else z)
    cross = binary_cross_entropy_with_logits(outputs, x.expand(3, -1, -1), reduction="none").sum(-1)
    decay = dist.Normal(0.0, 100 * pair.noise).log_prob(z) - dist.Normal(pair.encode(x), pair.noise).log_prob(z)
    assert torch.allclose(one.log_w, decay.sum(-1) - cross, atol=1e-4)


def test_greedy_stages_leave_encoder_and_decoder_with_one_set_of_weights_that_fine_tuning_moves_apart() -> None:
    spec = DataSpec("bits", 6, "binary")
    pair, x = DeepAutoencoder(spec, (4, 2)), torch.rand(20, 6).round()
    start = pair.weight_1.detach().clone()
    ppgen.fit(pair, x, "greedy", steps=4, batch_size=10, eager=True)
    assert not torch.equal(pair.weight_1, start)
    for number in (1, 2):
        assert torch.equal(getattr(pair, f"weight_{number}"), getattr(pair, f"recognition_weight_{number}"))
    ppgen.fit(pair, x, "elbo", steps=2, batch_size=10, eager=True)
    assert not torch.equal(pair.weight_1, pair.recognition_weight_1)


def test_machines_may_be_shown_means_of_the_layer_below() -> None:
    pair, x = DeepAutoencoder(GREY, (4, 3, 2)), grey(20)
    data = ppgen.data.Dataset(GREY, (x,))
    run = ppgen.fit(pair, data, "greedy(sample=False), elbo", steps=12, batch_size=10, eager=True)
    assert run.metrics[-1]["step"] == 12


@pytest.mark.parametrize("kind", ["binary", "counts", "real"])
def test_the_first_layer_is_the_machines_hidden_units_given_the_data(kind: Any) -> None:
    spec = DataSpec("data", 6, kind)
    pair, x = DeepAutoencoder(spec, (4, 3, 2)), torch.poisson(torch.ones(5, 6)) + 1
    machine = pair.machines[0]
    assert isinstance(machine, RBM)
    torch.nn.init.normal_(machine.hidden_bias)
    (seen,) = pair.shown_to(1, (x,), sample=False)
    assert torch.allclose(seen, machine._terms(x)[0].sigmoid(), atol=1e-6)
    assert set(pair.shown_to(2, (x,), sample=True)[0].unique().tolist()) <= {0.0, 1.0}


def test_machines_are_shown_bits_of_grey_levels() -> None:
    pair, x = DeepAutoencoder(GREY, (4, 2)), grey(2000)
    (bits,) = pair.shown_to(0, (x,), sample=True)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert float((bits.mean() - x.mean()).abs()) < 5 * 0.5 / 12000**0.5


def test_binary_codes_are_reconstructed_from_their_bits() -> None:
    pair, x = DeepAutoencoder(GREY, (4, 3), codes="binary"), grey(5)
    bits = (pair.encode(x) > 0).float()
    assert pair.binary_codes
    assert torch.allclose(pair.reconstruct(x), pair.decode(bits).sigmoid())
    assert torch.allclose(pair.remake_data((x,)).mean, pair.reconstruct(x))


def test_the_squared_error_is_taken_from_the_grey_levels_and_bits_per_dimension_are_not_given() -> None:
    pair, x = DeepAutoencoder(GREY, (4, 2)), grey(9)
    found = evaluate(pair, ppgen.data.Dataset(GREY, (x,), test=(x,)), particles=2)
    error, of_components = found.measures
    assert (error.name, of_components.name) == ("squared_error", "squared_error_of_pca")
    assert error.value == pytest.approx(float((x - pair.reconstruct(x)).square().sum(1).mean().detach()), rel=1e-5)
    assert found.bits_per_dim is None


def test_word_counts_are_reconstructed_as_words_of_their_documents() -> None:
    pair, x = DeepAutoencoder(DataSpec("words", 6, "counts"), (4, 2), codes="binary"), torch.ones(3, 6) * 2
    assert torch.allclose(pair.reconstruct(x).sum(1), torch.full((3,), 12.0))


def test_data_of_no_kind_that_has_a_layer_are_refused() -> None:
    with pytest.raises(UsageError, match="'things' are as they were given and say no likelihood"):
        DeepAutoencoder(DataSpec("things", 6, "any", shape=(6,)), (4, 2))
