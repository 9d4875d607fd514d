"""A small Bayes net: discrete variables, each given its parents, whose joint table is known exactly.

    p(v_1, ..., v_n) = prod_i P(v_i | parents of v_i)           a table each: "P(J|A)P(M|A)P(A|B,E)P(B)P(E)"

Some variables are observed, x, and the others h are latent. The joint table has prod S_i numbers and is made by
products, so that every query is a sum over it, exact:

    P(b | e) = sum over the rest of p(b, e, rest) / sum over b and the rest

In the model h_1, h_2, ... are drawn from p(h_i | h_1..h_{i-1}) and then x from p(x | h), sums over the same table,
whatever the order of the arrows; h is summed out exactly, or inferred by

    q(h | x) = prod_i Categorical(r_i(x))        "factorised": a table r_i for each of the rows that x may be

Learning. Counts n(v, pa) of a variable and its parents give its table, (n(v, pa) + a) / sum_v (n(v, pa) + a), with the
pseudo-count a, ``smoothing``: of x that is complete in closed form, else by ``em`` with expected counts. ``gibbs``
draws each h_i from p(h_i | the other h, x), and the tables from their Dirichlet given all.

Reference: Probabilistic Reasoning in Intelligent Systems, Pearl, 1988; the network of the burglar alarm: Artificial
Intelligence: A Modern Approach, Russell and Norvig, figure 14.2. EM: The EM algorithm for graphical association models
with missing data, Lauritzen, 1995.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge
from pyro.ops.indexing import Vindex
from torch import Tensor, nn

from ppgen.arguments import NonNegative, one_of
from ppgen.data import DataSpec
from ppgen.data.columns import names_of
from ppgen.distributions.joint_states import JointStates, numbered
from ppgen.errors import UsageError, setting, shown
from ppgen.layers.discrete_network import ZERO, DiscreteNetwork, summed
from ppgen.layers.formula import parents_of, read_tables, table_of
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["BayesNet"]

_MOST = 2**20
"""Numbers of a joint table."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 3, "binary", num_data=20)
    return BayesNet(spec, "P(J|A,B)P(M|A)P(A|E)P(B)P(E)", observed=["J", "M", "E"], guide="factorised"), (
        torch.rand(5, 3).round(),
    )


@register_model(
    "bayes_net",
    summary="small Bayes net of a formula P(J|A)P(A|B,E)P(B)P(E): exact queries; tables given or learnt",
    reference="Pearl, Probabilistic reasoning in intelligent systems",
    year=1988,
    link="https://doi.org/10.1016/C2009-0-27609-4",
    tags=("discrete", "exact"),
    tiny=_tiny,
    recommended=Recommended("em", training={"steps": 100, "batch_size": 1_000_000}),
)
class BayesNet(Pair):
    """A small Bayes net. One batch is ``(x,)``, x of shape (B, D): states of the observed variables, a column each.

    Sites:
        A: (), the state 0..S-1 of a latent variable of that name, in the plate ``data``; with ``guide="exact"`` the
            model's alone, marked for parallel enumeration
        B: likewise, and so on: a site for each latent variable, by its name in the formula
        x: (D,), observed, in the plate ``data``

    Parameters: ``tables.log_NAME``, logits of P(NAME | parents), (states of parents, S), where they are learnt;
    ``guides.NAME``, logits of r, (L^D, S).

    Args:
        spec: what one datum is: binary, or quantised, whose L levels are the states of every observed variable.
        formula: a factor of each variable.
        observed: the variables of the columns of x, in their order; None: all, as the formula has them.
        tables: variable to table, P(variable | parents) with a dim for each parent and the last for the variable, each
            row summing to one; or the name of a JSON file of that, or of a .csv file of rows,
            ``A,B=0 E=1,0.71,0.29``. They are held as they are. None: they are learnt.
        num_states: S of each latent variable.
        smoothing: a, of tables that are learnt.
        guide: ``"exact"``, or ``"factorised"``.

    Raises:
        UsageError: the data are neither binary nor quantised; the formula is none, or has a cycle; a name is unknown;
            a table is none (:mod:`ppgen.layers.formula`); the joint table is too large.

    >>> rain = {"R": [0.8, 0.2], "S": [0.5, 0.5], "W": [[[1.0, 0.0], [0.1, 0.9]], [[0.2, 0.8], [0.01, 0.99]]]}
    >>> pair = BayesNet(DataSpec("lawn", 1, "binary"), "P(W|R,S)P(R)P(S)", observed=["W"], tables=rain)
    >>> pair.query("R", W=1), pair.query("R", W=1, S=1)  # the sprinkler explains the wet lawn away
    (tensor([0.6679, 0.3321]), tensor([0.7843, 0.2157]))
    """

    def __init__(
        self,
        spec: DataSpec,
        formula: str = "",
        *,
        observed: Any = None,
        tables: Any = None,
        num_states: Annotated[int, Ge(2)] = 2,
        smoothing: NonNegative = 1.0,
        guide: Literal["exact", "factorised"] = "exact",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.levels, self.smoothing, self.guide_kind = _levels(spec), smoothing, guide
        self.parents = parents_of(formula)
        self.observed = _observed(observed, self.parents, spec)
        self.latent = tuple(name for name in self.parents if name not in self.observed)
        given = read_tables(tables, self.parents)
        self.states = {name: self.levels if name in self.observed else num_states for name in self.parents}
        _check_size(self.states)
        probs = {name: table_of(name, self.parents[name], table, self.states) for name, table in given.items()}
        self.learns = not given
        self.tables = DiscreteNetwork(self.parents, self.states, (*self.latent, *self.observed), probs or None)
        self.guides = nn.ParameterDict()
        for name in self.latent if guide == "factorised" else ():
            self.guides[name] = nn.Parameter(torch.zeros(self.levels ** len(self.observed), self.states[name]))

    def model(self, x: Tensor) -> None:
        log_joint = self.log_joint  # (S_1, ..., S_h, L^D)
        drawn: list[Tensor] = []
        infer: Any = {} if self.guides else {"enumerate": "parallel"}
        with self.data_plate(x):
            for place, name in enumerate(self.latent):
                table = log_joint.logsumexp(tuple(range(place + 1, log_joint.dim())))  # (S_1, ..., S_place)
                probs = dist.Categorical(logits=Vindex(table)[(*drawn, slice(None))])
                drawn.append(pyro.sample(name, probs, infer=infer))  # (K, B)
            rows = Vindex(log_joint)[(*drawn, slice(None))].log_softmax(-1)  # (K, B, L^D), or (L^D,)
            pyro.sample("x", JointStates(rows, len(self.observed), self.levels), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        row = numbered(x, self.levels)  # (B,)
        with self.data_plate(x):
            for name, logits in self.guides.items():
                pyro.sample(name, dist.Categorical(logits=logits[row]))  # (K, B)

    @property
    def log_joint(self) -> Tensor:
        """log p(h, x), (S_1, ..., S_h, L^D): a dim for each latent variable, and all rows of x."""
        return self.tables.log_joint().flatten(len(self.latent))

    @torch.no_grad()
    def query(self, *variables: str, **given: int) -> Tensor:
        """P(variables | given), exact, (S of each variable).

        Raises:
            UsageError: a variable is unknown, or has no such state; or what is given has the probability zero.
        """
        for name in (*variables, *given):
            one_of("the network has no variable", name, self.tables.order)
        for name, state in given.items():
            if not 0 <= state < self.states[name]:
                raise UsageError(f"{name} has the states 0 to {self.states[name] - 1}, got {name}={state}.")
        table = (
            self.tables.log_joint().double().exp()[tuple(given.get(name, slice(None)) for name in self.tables.order)]
        )
        if not float(table.sum()) > math.sqrt(ZERO):
            raise UsageError(f"what is given, {given}, has the probability zero: nothing follows from it.")
        left = [name for name in self.tables.order if name not in given]
        return (summed(table, left, variables) / table.sum()).to(self.log_joint)

    def posterior(self, x: Tensor) -> Tensor:
        """p(h | x), exact, of each datum: (B, D) to (B, S_1, ..., S_h)."""
        table = self.log_joint.movedim(-1, 0)[numbered(x, self.levels)]
        return table.reshape(len(x), -1).softmax(-1).reshape(table.shape)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B, D) to (B,), in nats."""
        table = self.log_joint.flatten(0, -2) if self.latent else self.log_joint[None]
        return table.logsumexp(0)[numbered(x, self.levels)]

    log_predictive = log_evidence

    def expected_statistics(self, x: Tensor, *, hard: bool = False) -> dict[str, Tensor]:
        """``joint``, how many data have each state of all variables, latent ones by p(h | x); in float64."""
        found = self.posterior(x).double().reshape(len(x), -1)  # (B, H)
        if hard:
            found = torch.eye(found.shape[1]).to(found)[found.argmax(-1)]
        return {"count": found.new_full((), len(x)), "joint": self._counted(found, x)}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tables of these counts; none, where they were given.

        Raises:
            UsageError: no datum has some states of a variable's parents, and there is no smoothing.
        """
        if not self.learns:
            return {}
        found = {}
        for name, counts in self.tables.counts(statistics["joint"], self.smoothing).items():
            if bool((empty := counts.sum(-1) <= 0).any()):
                row = zip(self.parents[name], empty.nonzero()[0].tolist(), strict=True)
                where = ", ".join(f"{one}={state}" for one, state in row)
                raise UsageError(
                    f"no datum has {where}, so that the table of {shown(name)} is not known there: give "
                    f"{setting('M', 'smoothing', 1)}, or more data."
                )
            probs = counts / counts.sum(-1, keepdim=True)
            found[f"tables.log_{name}"] = probs.clamp_min(ZERO).log().to(self.log_joint)
        return found

    def gibbs_start(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A state of each latent variable at random, (N,) each, and how many data have each state of all.

        Raises:
            UsageError: nothing is latent, or tables are learnt without smoothing, which their prior needs.
        """
        if not self.latent or (self.learns and not self.smoothing):
            what = "no latent variable: name those that are observed" if not self.latent else "no smoothing: give some"
            raise UsageError(f"Gibbs draws latent variables, and tables from their prior, and BayesNet has {what}.")
        state = {name: torch.randint(self.states[name], (len(x),), device=x.device) for name in self.latent}
        return state, {"joint": self._counted(self._one_hot(state), x)}

    def gibbs_sweep(
        self, state: Mapping[str, Tensor], x: Tensor, *, learn_prior: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """The tables, if they are learnt, then each latent variable; their counts; log p(x | h), (N,).

        Nothing is learned of the prior, whatever ``learn_prior``.
        """
        now = {name: state[name] for name in self.latent}
        log_joint = self.log_joint
        if self.learns:
            counts = self.tables.counts(self._counted(self._one_hot(now), x), self.smoothing)
            drawn = {name: dist.Dirichlet(value).sample().clamp_min(ZERO).log() for name, value in counts.items()}
            log_joint = self.tables.log_joint(drawn).flatten(len(self.latent))
        row = numbered(x, self.levels)
        for place, name in enumerate(self.latent):
            rest = tuple(value for one, value in now.items() if one != name)
            logits = log_joint.movedim(place, -1)[(*rest, row)]  # (N, S)
            now[name] = dist.Categorical(logits=logits).sample()
        at_h = log_joint[tuple(now.values())]  # (N, L^D)
        told = at_h.gather(-1, row[:, None]).squeeze(-1) - at_h.logsumexp(-1)
        return now, {"joint": self._counted(self._one_hot(now), x)}, told

    def gibbs_parameters(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tables at the mean of the counts."""
        return self.maximised(statistics)

    def _counted(self, found: Tensor, x: Tensor) -> Tensor:
        """Data with each state of all variables, by weights (B, H) of those of the latent ones: a dim for each."""
        counts = found.new_zeros(self.levels ** len(self.observed), found.shape[1])
        counts = counts.index_add(0, numbered(x, self.levels), found)
        return counts.mT.reshape([self.states[name] for name in self.tables.order])

    def _one_hot(self, state: Mapping[str, Tensor]) -> Tensor:
        """Weights (B, H) of states (B,) of the latent variables."""
        sizes = [self.states[name] for name in self.latent]
        number = torch.zeros_like(state[self.latent[0]])
        for name, size in zip(self.latent, sizes, strict=True):
            number = number * size + state[name]
        return torch.eye(math.prod(sizes), dtype=torch.float64, device=number.device)[number]


def _levels(spec: DataSpec) -> int:
    if spec.observation not in ("binary", "quantised"):
        raise UsageError(
            f"BayesNet needs states of discrete variables, binary or quantised, but data {shown(spec.name)} are "
            f"{spec.in_words}."
        )
    return spec.levels or 2


def _observed(given: Any, parents: Mapping[str, Any], spec: DataSpec) -> tuple[str, ...]:
    """The variables of the columns of x."""
    names = names_of(given) or tuple(parents)
    for name in names:
        one_of("observed has the variable", name, parents)
    if len(set(names)) < len(names) or len(names) != spec.num_features:
        raise UsageError(
            f"observed must name the variable of each of the {spec.num_features} columns of data {shown(spec.name)}, "
            f"got {', '.join(names)}."
        )
    return names


def _check_size(states: Mapping[str, int]) -> None:
    if (size := math.prod(states.values())) > _MOST:
        raise UsageError(
            f"BayesNet holds the joint table of all {len(states)} variables, and it would have {size:,} numbers, more "
            f"than {_MOST:,}: take fewer variables or states."
        )
