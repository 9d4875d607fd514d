"""The autoencoder: its bound is a reconstruction's, penalties are exact, a linear one finds the principal subspace."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pyro.distributions import Bernoulli
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch import Tensor
from torch.autograd.functional import jacobian
from torch.distributions import kl_divergence
from torch.nn.functional import binary_cross_entropy, cross_entropy

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.inference import ELBO, Hybrid
from ppgen.models import Autoencoder
from ppgen.pairs.tracing import Program, run_particles

BITS, GREY = DataSpec("bits", 6, "binary"), DataSpec("grey", 6, "quantised", levels=5)
REAL = DataSpec("numbers", 6, "real")


def autoencoder(spec: DataSpec, *arguments: Any, **options: Any) -> Autoencoder:
    """In float64, all parameters random."""
    pair = Autoencoder(spec, *arguments, **options).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return pair


def loss(pair: Autoencoder, x: Tensor) -> Tensor:
    return ELBO().differentiable_loss(pair.model, pair.guide, x)


@pytest.mark.parametrize("tied", [False, True])
def test_the_loss_is_the_cross_entropy_of_levels_under_their_reconstruction(tied: bool) -> None:
    pair, x = autoencoder(GREY, (4, 3), tied=tied), torch.randint(5, (7, 6)).double() / 4
    assert torch.allclose(loss(pair, x), binary_cross_entropy(pair.reconstruct(x), x, reduction="sum"))


def test_the_loss_of_real_data_is_half_the_squared_error() -> None:
    pair, x = autoencoder(REAL, (4, 3), activation="tanh"), torch.randn(7, 6).double()
    error = (x - pair.reconstruct(x)).square().sum() / 2
    assert torch.allclose(loss(pair, x), error + 7 * 3 * math.log(2 * math.pi))


def test_a_deep_decoder_is_the_encoder_backwards_with_its_weights_where_they_are_tied() -> None:
    pair, x = autoencoder(BITS, (4, 3), tied=True), torch.rand(7, 6).double().round()
    (w1, b1, c1), (w2, b2, c2) = ((m.weight, m.hidden_bias, m.visible_bias) for m in pair.layers)
    z = torch.sigmoid(torch.sigmoid(x @ w1 + b1) @ w2 + b2)
    assert torch.allclose(pair.encode(x), z)
    assert torch.allclose(pair.reconstruct(x), torch.sigmoid(torch.sigmoid(z @ w2.T + c2) @ w1.T + c1))


def test_a_linear_autoencoder_spans_the_subspace_of_the_first_principal_components() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 6).double() * torch.tensor([3.0, 2.0, 1.5, 0.7, 0.5, 0.3]).double() + 1
    pair = autoencoder(REAL, (3,), activation="identity")
    optimizer = torch.optim.LBFGS(
        pair.parameters(), max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(pair, x)
        value.backward()
        return value

    optimizer.step(closure)
    components = PCA(3).fit(x.numpy()).components_.T  # (D, 3)
    decoder = pair.layers[0].decoder_weight
    assert decoder is not None
    assert subspace_angles(decoder.detach().numpy(), components).max() < 1e-3


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "identity"])
@pytest.mark.parametrize("hidden", [(4,), (5, 4), (5, 4, 3)])
def test_the_contraction_is_the_squared_norm_of_autograds_jacobian(activation: Any, hidden: tuple[int, ...]) -> None:
    x = torch.randn(3, 6).double()
    torch.manual_seed(1)
    pair = autoencoder(REAL, hidden, activation=activation, contractive=0.3)
    torch.manual_seed(1)
    plain = autoencoder(REAL, hidden, activation=activation)
    squares = torch.stack([jacobian(pair.encode, each).square().sum() for each in x])
    assert torch.allclose(loss(pair, x) - loss(plain, x), 0.3 * squares.sum())


def test_sparsity_is_the_divergence_of_mean_activations_once_for_each_datum() -> None:
    x = torch.rand(7, 6).double().round()
    torch.manual_seed(1)
    pair = autoencoder(BITS, (4,), sparsity=2.0, sparsity_target=0.1)
    torch.manual_seed(1)
    plain = autoencoder(BITS, (4,))
    aimed = torch.full((4,), 0.1, dtype=torch.float64)
    divergence = kl_divergence(Bernoulli(aimed), Bernoulli(pair.encode(x).mean(0))).sum()
    assert torch.allclose(loss(pair, x) - loss(plain, x), 7 * 2.0 * divergence)


@pytest.mark.parametrize(("corruption", "noise"), [("masking", 0.4), ("salt_and_pepper", 0.4), ("gaussian", 0.4)])
def test_the_clean_datum_is_made_again_from_the_code_of_a_corrupted_one(corruption: Any, noise: float) -> None:
    pair, x = autoencoder(BITS, (4,), corruption=corruption, noise=noise), torch.rand(7, 6).double().round()
    one = run_particles(Program(pair.model, pair.guide), (x,), 5)
    seen = one.guide_sites["x_tilde"]["value"]  # (K, B, D)
    assert not torch.equal(seen[0], seen[1])
    again = pair.decode(pair.encode(seen))
    wanted = -binary_cross_entropy(again, x.expand(5, -1, -1), reduction="none").sum(-1)
    assert torch.allclose(one.log_w, wanted)


def test_there_is_no_noise_outside_of_training() -> None:
    pair, x = autoencoder(BITS, (4,), noise=0.5).eval(), torch.rand(7, 6).double().round()
    assert torch.allclose(loss(pair, x), binary_cross_entropy(pair.reconstruct(x), x, reduction="sum"))


def test_layers_learn_one_after_another_with_noise_and_are_tuned_without() -> None:
    torch.manual_seed(0)
    pair, x = Autoencoder(BITS, (4, 3), pretraining_noise=0.4), torch.rand(20, 6).round()
    assert [layer.noise.level for layer in pair.layers] == [0.4, 0.4]
    assert pair.noise.level == 0
    stages = ppgen.make_objective("greedy").stages(pair)
    first, second = (stage.objective.players()[0].owns for stage in stages)
    assert all(name.startswith("pair.machines.0.") for name in first)
    assert all(name.startswith("pair.machines.1.") for name in second)
    before = {name: value.clone() for name, value in pair.named_parameters()}
    run = ppgen.fit(pair, x, "greedy, elbo", steps=9, batch_size=10, eager=True)
    assert all(not torch.equal(value, before[name]) for name, value in pair.named_parameters())
    assert [line["stage"] for line in run.metrics if line["split"] == "train"][-1] != "Greedy 1"
    assert torch.equal(pair.shown_to(1, (x,), sample=True)[0], pair.layers[0].encode(x))


NAMED = DataSpec("bits", 6, "binary", num_classes=3)


def test_with_labels_the_loss_has_the_cross_entropy_of_the_label_too_and_without_one_it_has_not() -> None:
    pair, x, y = autoencoder(NAMED, (4, 3), labels=True), torch.rand(7, 6).double().round(), torch.arange(7) % 3
    remade = binary_cross_entropy(pair.reconstruct(x), x, reduction="sum")
    told = cross_entropy(pair.encode(x) @ pair.label_weight + pair.label_bias, y, reduction="sum")
    assert torch.allclose(loss(pair, x), remade)
    assert torch.allclose(ELBO().differentiable_loss(pair.model, pair.guide, x, y), remade + told)
    assert torch.allclose(-pair.classify(x).log().gather(1, y[:, None]).sum(), told)
    for weight, expected in ((0.0, told), (0.5, 1.5 * told + 0.5 * remade)):
        assert torch.allclose(Hybrid(weight=weight).differentiable_loss(pair.model, pair.guide, x, y), expected)


def test_fine_tuning_begins_where_pretraining_without_labels_ended() -> None:
    torch.manual_seed(0)
    pair, x, y = Autoencoder(NAMED, (4,), noise=0.4, labels=True), torch.rand(20, 6).round(), torch.arange(20) % 3
    data = Dataset(NAMED, (x, y), (x, y), (x, y))
    options: dict[str, Any] = {"batch_size": 10, "schedule": "constant", "eager": True, "progress": False}
    ppgen.fit(pair, data, "greedy", steps=4, **options)
    first, decoder = pair.layers[0].weight.detach().clone(), pair.layers[0].decoder_weight
    assert not pair.label_weight.any()  # labels were not looked at
    assert decoder is not None
    kept = decoder.detach().clone()
    torch.manual_seed(0)
    again = Autoencoder(NAMED, (4,), noise=0.4, labels=True)
    started: list[Tensor] = []

    class Started(ppgen.Callback):
        def after_step(self, training: Any) -> None:
            if training.step == 4:
                started.append(again.layers[0].weight.detach().clone())

    objective = ppgen.make_objective("greedy, hybrid(weight=0)", shares=(1, 2))
    ppgen.fit(again, data, objective, steps=12, callbacks=[Started()], **options)
    assert torch.equal(started[0], first)
    assert not torch.equal(again.layers[0].weight, first)
    assert again.label_weight.any()
    assert torch.equal(again.state_dict()["machines.0.decoder_weight"], kept)  # p(y | x) has no decoder


def test_its_accuracy_is_measured_and_a_pair_without_labels_has_none() -> None:
    x, y = torch.rand(20, 6).round(), torch.arange(20) % 3
    pair = autoencoder(NAMED, (4,), labels=True).float()
    found = {m.name: m.value for m in evaluate(pair, Dataset(NAMED, (x, y), (x, y), (x, y)), particles=1).measures}
    assert found["accuracy"] == pytest.approx((pair.classify(x).argmax(-1) == y).double().mean().item())
    assert "accuracy" not in {m.name for m in evaluate(Autoencoder(BITS, (4,)), x, particles=1).measures}


def test_greedy_has_no_negative_phase_to_take_options_for() -> None:
    with pytest.raises(UsageError, match="num_chains and sparsity of Greedy are those of a negative phase, and Coding"):
        ppgen.make_objective("greedy", num_chains=5).stages(Autoencoder(BITS, (4, 3)))


def test_the_squared_error_stands_beside_that_of_as_many_principal_components() -> None:
    pair, x = Autoencoder(REAL, (2,)), torch.randn(30, 6)
    found = evaluate(pair, Dataset(REAL, (x,), test=(x[:9],)), particles=2)
    assert found.method == "point"
    error = (x[:9] - pair.reconstruct(x[:9])).square().sum(1).mean()
    values = {measure.name: measure.value for measure in found.measures}
    pca = PCA(2).fit(x.double().numpy())
    again = torch.from_numpy(pca.inverse_transform(pca.transform(x[:9].double().numpy())))
    assert values["squared_error_of_pca"] == pytest.approx(float((x[:9] - again).square().sum(1).mean()))
    assert values["squared_error"] == pytest.approx(float(error.detach()))


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (DataSpec("words", 6, "counts"), {}, "needs binary, quantised or real data, but data 'words' are counts"),
        (BITS, {"hidden": ()}, "hidden must be a list of whole numbers"),
        (BITS, {"hidden": (0,)}, "hidden must be a list of whole numbers of at least 1"),
        (BITS, {"noise": -0.1}, "noise must be a number of at least 0, got -0.1"),
        (BITS, {"noise": 1.0}, "is a share of numbers, at least 0 and below 1, got 1.0"),
        (REAL, {"corruption": "salt_and_pepper", "noise": 0.1}, "needs data in .0, 1., but data 'numbers' are real"),
        (BITS, {"corruption": "salt"}, "'masking' or 'salt_and_pepper' or 'gaussian', got 'salt'"),
        (BITS, {"labels": True}, "Autoencoder with labels needs the number of classes, but data 'bits' come without"),
        (BITS, {"sparsity": 1.0, "activation": "relu"}, "sparsity is of units in .0, 1., got activation='relu'"),
    ],
)
def test_bad_options_are_refused(spec: DataSpec, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Autoencoder(spec, **options)


PAIRED = DataSpec("patches", 6, "binary", source=DataSpec("surroundings", 4, "real"), paired="all")


def test_a_context_is_made_from_the_code_too_and_its_gradient_is_that_by_hand() -> None:
    pair = autoencoder(PAIRED, (5, 3), context=0.3)
    x, s = torch.rand(7, 6).double().round(), torch.randn(7, 4).double()
    assert pair.context is not None
    z = pair.encode(x)
    error = z @ pair.context.weight + pair.context.bias - s  # (B, D_s)
    context = error.square().sum() / 2 + 7 * 2 * math.log(2 * math.pi)
    found = ELBO().differentiable_loss(pair.model, pair.guide, x, s)
    assert torch.allclose(found, loss(pair, x) + 0.3 * context)

    found.backward()
    weight = pair.context.weight.grad
    assert weight is not None
    assert torch.allclose(weight, 0.3 * z.detach().T @ error.detach())
    top = pair.layers[-1].weight
    below = pair.layers[0].encode(x)
    back = 0.3 * error @ pair.context.weight.T * z * (1 - z)  # (B, H_L), of the sigmoid's inputs
    plain = torch.autograd.grad(loss(pair, x), top)[0]
    assert top.grad is not None
    assert torch.allclose(top.grad, plain + below.T @ back)


def test_contexts_are_learnt_from_the_data_and_are_not_looked_at_unless_asked() -> None:
    torch.manual_seed(0)
    x = torch.rand(40, 6).round()
    data = Dataset(PAIRED, (x, torch.cat([x[:, :2], 1 - x[:, :2]], 1)), (), ())
    options: dict[str, Any] = {"batch_size": 40, "lr": 0.05, "eager": True, "progress": False}
    pair = Autoencoder(PAIRED, (8,), context=1.0)
    ppgen.fit(pair, data, "greedy, elbo", steps=300, **options)
    assert pair.context is not None
    error = (pair.context.given(pair.encode(x)).mean - data.train[1]).square().mean()
    assert error < 0.05  # 0.25 of their mean
    plain = Autoencoder(PAIRED, (8,)).double()
    assert torch.equal(loss(plain, x.double()), ELBO().differentiable_loss(plain.model, plain.guide, x.double(), x))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (BITS, "context=0.3 needs a context s beside each datum x, and data 'bits' are one set: load x and s as"),
        (replace(PAIRED, paired="held_out"), "data 'patches' are two sets whose rows do not belong together"),
        (
            replace(PAIRED, source=DataSpec("words", 4, "counts")),
            "the context of an autoencoder needs binary,",
        ),
    ],
)
def test_data_without_a_context_are_refused(spec: DataSpec, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Autoencoder(spec, context=0.3)


def test_labels_are_no_context() -> None:
    with pytest.raises(UsageError, match=r"Autoencoder with contexts takes batches \(x, s\).* got labels"):
        Autoencoder(PAIRED, (3,), context=0.3).prepare(torch.rand(7, 6).round(), torch.arange(7))
