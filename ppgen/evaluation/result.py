"""What an evaluation gives: a log-likelihood with its standard error, how it was found, and further measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import hypot
from typing import Any, Literal

from ppgen.chains.log_z import LogZ
from ppgen.files.documents import Error, from_document
from ppgen.pages.brief import Brief
from ppgen.pages.numbers import counted, plus_minus, short

__all__ = ["Along", "Evaluation", "Measure", "Method", "Point"]

Method = Literal["bound", "exact", "point", "annealed", "enumerated", "parzen"]
"""How a log-likelihood was found; see :class:`Evaluation`."""


@dataclass(frozen=True)
class Point:
    """The bound of ``num_particles``: its mean over data and that mean's standard error, in nats."""

    num_particles: int
    log_likelihood: float
    standard_error: Error


@dataclass(frozen=True)
class Along:
    """A measure along something: ``value`` at each ``x``, with its standard error, and what both are called.

    >>> Along("recall", "precision", (0.1, 1.0), (0.9, 0.2), (0.01, 0.01)).value
    (0.9, 0.2)
    """

    x_label: str
    label: str
    x: tuple[float, ...]
    value: tuple[float, ...]
    standard_error: tuple[Error, ...]


@dataclass(frozen=True)
class Measure:
    """One number beside the log-likelihood.

    Args:
        name: in lower case with underscores, as it stands in JSON.
        value: the number.
        standard_error: of the value; None where there is none.
        meaning: for whoever reads it: what it says, its unit, its direction, and what it was taken from.
        along: the curve that it sums up, if there is one.

    >>> Measure("perplexity", 1234.567, 5.6789, "of words").cells
    ('perplexity', '1,235', '5.7', 'of words')
    """

    name: str
    value: float
    standard_error: Error | None
    meaning: str
    along: Along | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Its row in a table: the name, the value to four digits, the error to two, and what it says."""
        error = "" if self.standard_error is None else short(self.standard_error, 2)
        return self.name.replace("_", " "), short(self.value, 4), error, self.meaning


@dataclass(frozen=True, repr=False)
class Evaluation(Brief):
    """A log-likelihood in nats per datum, and what else was measured.

    ``method`` says how ``log_likelihood`` was found:

    - ``"bound"``: by the bound of K particles, below log p(x) in expectation and tighter as K grows. ``curve`` holds
      it at smaller K, from the same log-weights. With ``log_z``, of an unnormalised pair whose guide is inexact: the
      bound on log p~(x), less log Z.
    - ``"exact"``: log p(x) itself: there is no latent, or all are summed out, or the guide is the posterior.
    - ``"point"``: the guide holds a latent at one point z', and the number is log p(x, z'), no log-likelihood.
    - ``"annealed"``: that of an unnormalised pair, whose log-weights are those of p~(x) = Z p(x), less an estimate of
      log Z (``log_z``). The estimate is below log Z in expectation, so that the log-likelihood errs upward, by little
      where its error bar is small.
    - ``"enumerated"``: the same less the exact log Z.
    - ``"parzen"``: of a pair without a density, by a Parzen window of its samples: the log-likelihood of a mixture of
      Gaussians at the samples, and not that of the model.

    ``standard_error`` is over data: the standard deviation over sqrt(num_data); with an estimate of log Z it holds its
    error too, the root of the sum of squares. ``num_particles`` is K, None for a Parzen window. ``bits_per_dim`` is
    given for a density of quantised pixels. ``num_samples`` is how many draws of the model the measures read.

    >>> import ppgen, torch
    >>> from ppgen.evaluation import evaluate
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 1, "real"))
    >>> _ = torch.nn.init.zeros_(pair.weight)  # x ~ N(0, 1), whatever z
    >>> found = evaluate(pair, torch.zeros(20, 1), particles=2)
    >>> found.sentence
    'train: log p(x) ≥ -0.92 ± 0 nats per datum (K = 2, 20 data)'
    >>> found.curve
    (Point(num_particles=1, log_likelihood=-0.918..., ...), Point(num_particles=2, log_likelihood=-0.918..., ...))
    """

    log_likelihood: float
    standard_error: Error
    num_particles: int | None
    split: str
    num_data: int
    curve: tuple[Point, ...]
    bits_per_dim: float | None = None
    log_z: LogZ | None = None
    method: Method = "bound"
    num_samples: int = 0
    measures: tuple[Measure, ...] = ()

    @property
    def title(self) -> str:
        """What ``log_likelihood`` is a number of."""
        return f"{self.split.capitalize()} {_WORDS[self.method][0]}"

    @property
    def sentence(self) -> str:
        """The number with its error, and how it was found."""
        _, relation, how = _WORDS[self.method]
        if self.method == "bound" and self.log_z is not None:
            how = f"{how}, less {_WORDS['enumerated' if self.log_z.exact else 'annealed'][2]}"
        bits = "" if self.bits_per_dim is None else f", {self.bits_per_dim:.3f} bits per dimension"
        log_z = "" if self.log_z is None else _with_error(self.log_z.value, self.log_z.standard_error)
        return (
            f"{self.split}: {relation} {_with_error(self.log_likelihood, self.standard_error)} nats per datum "
            f"({how.format(**{**vars(self), 'of_log_z': log_z})}, {counted(self.num_data, 'datum', 'data')}){bits}"
            f"{self._beside}"
        )

    @property
    def _beside(self) -> str:
        """What the other side of log Z makes of the number, and what speaks against it."""
        if self.log_z is None:
            return ""
        above = ""
        if self.lower is not None and self.lower_standard_error is not None and self.log_z.upper is not None:
            lower = _with_error(self.lower, self.lower_standard_error)
            upper = _with_error(self.log_z.upper, self.log_z.upper_standard_error or 0.0)
            above = f"; at least {lower} by log Z from above, {upper}"
        if not self.log_z.warning:
            return above
        between = "" if self.interval is None else "; at 95 % between {:.2f} and {:.2f}".format(*self.interval)
        return f"{above}{between}. Warning: {self.log_z.warning}"

    @property
    def lower(self) -> float | None:
        """The log-likelihood less an estimate of log Z that errs upward, nats; None: log Z is exact, or no sandwich."""
        if self.log_z is None or self.log_z.upper is None:
            return None
        return self.log_likelihood + self.log_z.value - self.log_z.upper

    @property
    def lower_standard_error(self) -> float | None:
        """Of ``lower``, nats: that over data, and that of log Z from above in the place of the other's."""
        if self.log_z is None or self.log_z.upper_standard_error is None:
            return None
        return hypot(self._over_data, self.log_z.upper_standard_error)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of a 95 percent interval for the log-likelihood, nats, the longer below; None: log Z is exact, or none.

        Over data the mean is normal; log Z reaches from its ``low`` up by its ``flattery``; on each side the two
        reaches are put together by the root of the sum of their squares (MOVER, Zou, Taleban and Huo 2009).
        """
        if self.log_z is None or self.log_z.low is None or self.log_z.flattery is None:
            return None
        over_data = _NORMAL * self._over_data
        return (
            self.log_likelihood - hypot(over_data, self.log_z.flattery),
            self.log_likelihood + hypot(over_data, self.log_z.value - self.log_z.low),
        )

    @property
    def _over_data(self) -> float:
        """The standard error over data alone."""
        of_log_z = 0.0 if self.log_z is None else self.log_z.standard_error
        return float(max(0.0, self.standard_error**2 - of_log_z**2) ** 0.5)

    def brief(self) -> tuple[str, list[tuple[str, ...]]]:
        """The sentence, and the measures with their errors."""
        return self.sentence, [measure.cells[:3] for measure in self.measures]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of the fields, and every measure by its name beside them.

        A measure ``m`` that has a standard error has ``m_standard_error`` too. Of an annealed log Z, ``interval`` and,
        in ``log_z``, ``flattery`` and ``warning`` stand there as well.
        """
        values = {measure.name: measure.value for measure in self.measures}
        errors = {
            f"{measure.name}_standard_error": measure.standard_error
            for measure in self.measures
            if measure.standard_error is not None
        }
        fields = asdict(self) | {"interval": self.interval}
        if self.log_z is not None:
            fields["log_z"] |= {"flattery": self.log_z.flattery, "warning": self.log_z.warning}
        return fields | values | errors

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Evaluation:
        """The evaluation that :meth:`to_json` wrote."""
        return from_document(document, cls)


_NORMAL = 1.96
"""Standard errors to either end of a normal 95 percent interval."""

_WORDS: dict[Method, tuple[str, str, str]] = {
    "bound": ("log-likelihood", "log p(x) ≥", "K = {num_particles:,}"),
    "exact": ("log-likelihood", "log p(x) =", "exact"),
    "point": ("log p(x, z) at the guide's point z", "log p(x, z) =", "at the guide's point z, no log-likelihood"),
    "annealed": (
        "log-likelihood",
        "log p(x) ≈",
        "log Z ≈ {of_log_z}: {log_z.num_temperatures:,} temperatures, "
        "{log_z.num_chains:,} chains of effective size {log_z.effective_sample_size:.0f}",
    ),
    "enumerated": ("log-likelihood", "log p(x) ≈", "log Z = {log_z.value:.2f}, exact"),
    "parzen": (
        "log-likelihood under a Parzen window",
        "Parzen window",
        "of {num_samples:,} samples, not the model's likelihood",
    ),
}
"""By method: what the number is, what stands before it in a sentence, and how it was found."""


def _with_error(value: float, error: float) -> str:
    """A value and its error, with as many digits as a small error needs to be seen."""
    both = (text.replace("−", "-").replace(",", "") for text in plus_minus(value, error))
    return " ± ".join(both)
