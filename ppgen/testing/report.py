"""All rules at once: what holds, what is broken, where, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ppgen.errors import UsageError
from ppgen.machine.entry import entry_point
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.places import as_batch, brought_to
from ppgen.pairs.rows import first_data
from ppgen.pairs.tracing import Batch
from ppgen.testing.checks import OBJECTIVE_CHECKS, PAIR_CHECKS, Check, CheckFailed, NotApplicable

__all__ = ["Report", "Result", "check_objective", "check_pair"]


@dataclass(frozen=True)
class Result:
    """What one check found."""

    check: str
    """Name of the function, ``check_batch_independence``."""
    rule: str
    """The rule, as a sentence."""
    verdict: Literal["held", "broken", "not applicable"]
    message: str = ""
    """What came instead, or why the rule does not apply."""
    where: str = ""
    advice: str = ""
    """What to do."""


@dataclass(frozen=True)
class Report:
    """What all checks found, in order.

    >>> import ppgen, pyro, torch
    >>> def model(x):
    ...     with pyro.plate("data", len(x)):
    ...         z = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
    ...         pyro.sample("x", pyro.distributions.Normal(z, 1.0), obs=x)
    >>> report = check_pair(ppgen.pair_from(model, guide=lambda x: None), (torch.zeros(5),))
    >>> report.ok, report.broken
    (False, (Result(check='check_sites_match', ..., where="site 'z'", advice="add pyro.sample('z', ...) ...
    """

    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether no rule is broken."""
        return not self.broken

    @property
    def broken(self) -> tuple[Result, ...]:
        """The rules that are broken."""
        return tuple(result for result in self.results if result.verdict == "broken")

    @property
    def summary(self) -> str:
        """How many rules hold, are broken, and do not apply to such a pair or objective."""
        counts = Counter(result.verdict for result in self.results)
        held, broken, apart = (counts[verdict] for verdict in ("held", "broken", "not applicable"))
        said = [f"{held} {'rule holds' if held == 1 else 'rules hold'}"]
        said += [f"{broken} {'is' if broken == 1 else 'are'} broken"] if broken else []
        said += [f"{apart} {'says' if apart == 1 else 'say'} nothing of it"] if apart else []
        return f"{', '.join(said)}."

    def __str__(self) -> str:
        return "\n".join(_line(result) for result in self.results)


@entry_point
def check_pair(pair: Any, batch: Batch) -> Report:
    """Every rule of pairs, judged on anybody's pair. It stops at no failure, and the pair is left as it was.

    Args:
        pair: a :class:`ppgen.Pair`, or any module with methods ``model`` and ``guide``.
        batch: the arguments of model and guide, what the data set yields: ``(x,)``, ``(x, y)``, ...; a handful of data
            is enough, two are needed.

    Returns:
        A report; ``report.ok`` says whether no rule is broken, ``print(report)`` shows them.

    Raises:
        UsageError: there is no pair, or no batch, to judge.
    """
    as_pair(pair)  # refuses what is none; each check makes its own, so that what it prepares is undone
    return _judged(PAIR_CHECKS, pair, brought_to(pair, _arguments(batch)))


@entry_point
def check_objective(objective: Any) -> Report:
    """Every rule of objectives, judged on tiny pairs whose truth is known.

    Raises:
        UsageError: it is no objective.
    """
    if isinstance(objective, Objective):
        return _judged(OBJECTIVE_CHECKS, objective)
    raise UsageError(f"expected an objective, got {_kind(objective)}: subclass ppgen.Objective or ppgen.Bound.")


def _arguments(given: Any) -> Batch:
    batch = as_batch(given)
    x = first_data(batch)
    if x is not None and not len(x):
        raise UsageError(f"expected a batch with data, got x of shape {tuple(x.shape)}: give at least two data.")
    return batch


def _judged(checks: Mapping[str, Check], *subject: Any) -> Report:
    """Gates come first; where one is broken, the rules after it are not judged."""
    results: list[Result] = []
    shut = ""
    for check in sorted(checks.values(), key=lambda check: not check.gate):
        if shut:
            reason = f"cannot be judged until {shut} holds"
            results.append(Result(check.name, check.rule, "not applicable", reason))
            continue
        results.append(_judge(check, *subject))
        if check.gate and results[-1].verdict == "broken":
            shut = check.name
    return Report(tuple(results))


def _judge(check: Check, *subject: Any) -> Result:
    try:
        check.function(*subject)
    except CheckFailed as error:
        return Result(check.name, check.rule, "broken", error.message, error.where, error.advice)
    except NotApplicable as error:
        return Result(check.name, check.rule, "not applicable", error.message, error.where)
    return Result(check.name, check.rule, "held")


def _line(result: Result) -> str:
    start = f"{result.verdict:>14}  {result.rule}"
    found = ": ".join(part for part in (result.where, result.message, result.advice) if part)
    return f"{start}\n{'':16}{found}" if found else start


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
