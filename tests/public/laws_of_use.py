"""Whatever takes a pair takes these: training, checks, comparison, diagnosis, ArviZ."""

from __future__ import annotations

import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyro
import torch
from pyro import poutine
from pyro.infer import SVI
from pyro.optim import ClippedAdam
from pyro.poutine.util import site_is_subsample
from torch import Tensor

import ppgen
from ppgen.data import Dataset, as_dataset
from ppgen.errors import UsageError
from ppgen.pairs.sites import is_latent
from ppgen.posterior.inference_data import write_posterior
from ppgen.registry import OBJECTIVES
from ppgen.testing import PAIR_CHECKS
from tests.public.case import Case, Made
from tests.public.laws import CRITICAL, NotApplicable, finite, law
from tests.public.laws_of_numbers import stock_losses

__all__: list[str] = []

STILL = 1e-12
"""A learning rate that moves no float32."""

QUESTIONS = ["importance", "global_importance", "collapse", "posterior_predictive", "leave_one_out"]
"""Those that train nothing and simulate no further data."""


def data_of(made: Made) -> Dataset:
    """The arguments as a data set that holds nothing out."""
    if made.tensors is None:
        raise NotApplicable("its arguments are no columns of a data set")
    return as_dataset(made.tensors, made.tensors, made.tensors)


@law("fit moves the parameters, and reports finite numbers")
def fit(case: Case) -> None:
    made = case.fresh()
    data, pair = data_of(made), made.pair()
    pair.prepare(*made.args)
    before = {name: value.detach().clone() for name, value in pair.named_parameters()}
    run = ppgen.fit(pair, data, case.ours(2), steps=3, batch_size=len(data.train[0]), lr=1e-2, eager=True)
    assert all(math.isfinite(line["bound"]) for line in run.metrics)
    moved = [name for name, value in pair.named_parameters() if not torch.equal(value, before[name])]
    assert moved, "no parameter moved"


@law("the bound that fit reports while it stands still is minus stock's loss")
def fit_bound(case: Case) -> None:
    made = case.built()
    data, steps = data_of(made), 30
    size = len(data.train[0])
    run = ppgen.fit(made.pair(), data, case.ours(1), steps=steps, batch_size=size, lr=STILL, eager=True)
    theirs = -stock_losses(case) / (case.scale * (case.num_data or 1))
    reported = next(line["bound"] for line in run.metrics if line["split"] == "train")
    error = float(theirs.std()) * math.sqrt(1 / steps + 1 / case.repeats) + 1e-5 * float(theirs.mean().abs())
    assert abs(reported - float(theirs.mean())) < CRITICAL * error, (
        f"{reported:.6g} where stock has {theirs.mean():.6g}"
    )


@law(
    "every registered objective takes it in SVI, with a finite loss, or refuses it in a sentence",
    slow=True,
    thorough=True,
)
def objectives(case: Case) -> None:
    wrong: list[str] = []
    taken: list[str] = []
    for name, spec in OBJECTIVES.items():
        assert spec.tiny is not None
        try:
            made = case.fresh()
            svi = SVI(made.model, made.guide, ClippedAdam({"lr": 1e-4}), loss=spec.tiny())
            loss = svi.step(*made.args, **made.kwargs)
            (taken if math.isfinite(loss) else wrong).append(f"{name}: {loss}")
        except UsageError:
            continue
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[:1]}")
    assert not wrong, "; ".join(wrong)
    assert taken, "every objective refuses it"


@law("no rule of pairs is broken, but those that the case gives a reason for", slow=True, thorough=True)
def check_pair(case: Case) -> None:
    made = case.built()
    quick = {name: check for name, check in PAIR_CHECKS.items() if not check.slow}
    with patch.dict(PAIR_CHECKS, quick, clear=True):
        report = ppgen.check_pair(made.pair(), made.args)
    found = {one.check: f"{one.where}: {one.message}" for one in report.broken}
    assert found.keys() == case.broken.keys(), f"broken: {found}"


@law("the rules that compile a step hold", slow=True, thorough=True)
def compiled(case: Case) -> None:
    if not case.compiled:
        raise NotApplicable("another case of its kind is compiled")
    made = case.built()
    for check in PAIR_CHECKS.values():
        if check.slow:
            check.function(made.pair(), made.args)


@law("compare finds no bias between stock's gradient and ours", slow=True, thorough=True)
def compare(case: Case) -> None:
    made = case.built()
    table = ppgen.compare(
        made.pair(),
        made.args,
        {"ours": case.ours(1), "stock": case.stock},
        draws=32,
        repeats=16,
        warmup=0,
        particles=64,
        eager=True,
    )
    results = table.points[0].objectives
    assert [one.label for one in results] == ["ours", "stock"]
    assert all(math.isfinite(one.bound.value) for one in results)
    assert all(one.verdict != "biased" for one in results), str([(one.label, one.verdict) for one in results])


@law("diagnose answers or says why not", slow=True, thorough=True)
def diagnose(case: Case) -> None:
    made = case.built()
    found = ppgen.diagnose(
        made.pair(), made.args if made.tensors is None else made.tensors, num_particles=130, questions=QUESTIONS
    )
    assert found.findings
    assert all(one.status != "unknown" or one.meaning for one in found.findings)
    broken = [one.meaning for one in found.findings if "not finite" in one.meaning]
    assert not broken


@law("to_inference_data has every latent and every observation, in their shapes")
def inference_data(case: Case) -> None:
    made = case.built()
    idata = ppgen.to_inference_data(made.pair(), made.args, num_samples=4)
    for name, site in _model_sites(made).items():
        if is_latent(site) and name not in case.summed:
            values = variable(idata.posterior, name)
            assert values.shape[:2] == (1, 4)
            assert sizes(values[0, 0]) == sizes(site["value"]), f"{name}: {values.shape}"
            assert finite(values)
        elif site["is_observed"]:
            values = variable(idata.observed_data, name)
            assert sizes(values) == sizes(site["value"]), f"{name}: {values.shape}"
    with TemporaryDirectory() as folder:
        assert write_posterior(made.pair(), made.args, Path(folder) / "posterior.nc", num_samples=4).stat().st_size


def sizes(values: Tensor) -> list[int]:
    """Of its dims, but those of size 1, which plates to the left of others leave."""
    return [size for size in values.shape if size != 1]


def variable(group: Any, site: str) -> Tensor:
    """Of a site; ArviZ has dims of the names ``chain`` and ``draw``, and files no names with '/'."""
    letters = {re.sub(r"[^a-z0-9]", "", name): name for name in map(str, group.data_vars)}
    plain = re.sub(r"[^a-z0-9]", "", site)
    found = letters.get(plain) or next((name for short, name in letters.items() if plain in short), None)
    assert found is not None, f"no variable of site {site!r} among {sorted(letters.values())}"
    return torch.as_tensor(group[found].values)


def _model_sites(made: Made) -> dict[str, Any]:
    """What the model's run under the guide's draws has, but subsamples and factors."""
    guide = poutine.trace(made.guide).get_trace(*made.args, **made.kwargs)
    model = poutine.trace(poutine.replay(made.model, trace=guide)).get_trace(*made.args, **made.kwargs)
    sites = {name: site for name, site in model.nodes.items() if site["type"] == "sample"}
    pyro.set_rng_seed(0)
    return {
        n: s for n, s in sites.items() if not (site_is_subsample(s) or isinstance(s["fn"], pyro.distributions.Unit))
    }
