"""What a diagnosis gives: a finding for each question that arises, and the verdict over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

from pydantic import Discriminator, Tag

from ppgen.arguments import one_of
from ppgen.diagnostics.finding import Finding, Status
from ppgen.diagnostics.questions.every import QUESTIONS
from ppgen.files.documents import from_document, to_document
from ppgen.pages.brief import Brief
from ppgen.pages.numbers import counted, short

__all__ = ["WORDS", "Diagnosis"]

_GRAVITY: dict[Status, int] = {"good": 0, "unknown": 1, "warn": 2, "bad": 3}


WORDS: dict[Status, str] = {"good": "good", "warn": "in part", "bad": "bad", "unknown": "not answered"}
"""What a status is called."""

_KINDS = {question.name: question.kind for question in QUESTIONS}


def _question(finding: Any) -> str:
    """Whose details a finding has, in JSON or not; ``own``: of a question of the user's, left as they are."""
    name = finding.get("question") if isinstance(finding, Mapping) else getattr(finding, "question", "")
    return next((known for known in _KINDS if known == name), "own")


if TYPE_CHECKING:
    AnyFinding: TypeAlias = Finding
else:
    of_kinds = (Annotated[kind, Tag(name)] for name, kind in {"own": Finding, **_KINDS}.items())
    AnyFinding = Annotated[reduce(or_, of_kinds), Discriminator(_question)]


@dataclass(frozen=True, kw_only=True, repr=False)
class Diagnosis(Brief):
    """The findings on a pair, in the order of :data:`ppgen.diagnostics.QUESTIONS`.

    ``num_data`` of ``split`` were looked at, ``num_particles`` drawn for each. ``left_out`` says which questions
    do not arise for such a pair, and why; empty where all do. ``not_asked`` names those that it was stopped before.

    >>> import ppgen, torch
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"), latent_dim=1)
    >>> pair.set_exact_guide()
    >>> found = ppgen.diagnose(pair, torch.zeros(20, 3), num_particles=130, questions=["importance"])
    >>> found.verdict, found.sentence
    ('good', "Yes to every question: “Do the guide's draws, weighted, stand for the posterior?”")
    >>> found["importance"]
    Finding(question='importance', ..., status='good', number=0.0, threshold=0.526..., ...)
    """

    findings: tuple[AnyFinding, ...]
    split: str
    num_data: int
    num_particles: int
    seed: int
    left_out: str = ""
    not_asked: tuple[str, ...] = ()

    @property
    def verdict(self) -> Status:
        """The gravest status: bad before warn before unknown before good; unknown where no question arose, or where
        some were not asked."""
        unasked: list[Status] = ["unknown"] if self.not_asked or not self.findings else []
        return max([*unasked, *(found.status for found in self.findings)], key=_GRAVITY.__getitem__)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return " ".join(self._sentences())

    @property
    def tally(self) -> str:
        """How many questions were asked, and how many found good, in part and so on."""
        counts = Counter(found.status for found in self.findings)
        said = [f"{counts[status]} {word}" for status, word in WORDS.items() if counts[status]]
        said += [f"{len(self.not_asked)} more not asked"] if self.not_asked else []
        return f"{counted(len(self.findings), 'question')}: {', '.join(said)}" if said else "no question arose"

    def brief(self) -> tuple[str, list[tuple[str, ...]]]:
        """The tally, and the findings with their numbers, the gravest first."""
        rows: list[tuple[str, ...]] = [
            (found.status, found.title, _text(found.number), found.limit) for found in self.gravest_first
        ]
        return f"{self.split}, {self.num_data:,} data: {self.tally}", rows

    @property
    def gravest_first(self) -> list[Finding]:
        """The findings: bad before warn before unknown before good, else in their order."""
        return sorted(self.findings, key=lambda found: -_GRAVITY[found.status])

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, question: str) -> Finding:
        """The finding on a question.

        Raises:
            UsageError: the question did not arise, or there is none of that name.
        """
        found = {finding.question: finding for finding in self.findings}
        one_of("expected a question that was answered, got", question, found)
        return found[question]

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """A row for each finding: its status, title, number, threshold with its direction, and meaning."""
        return [(found.status, found.title, _text(found.number), found.limit, found.meaning) for found in self.findings]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of the fields, the verdict and its sentence; numbers that are not finite are None.

        ``not_asked`` is in it only where a diagnosis was stopped.
        """
        fields = to_document(self)
        if not self.not_asked:
            del fields["not_asked"]
        return {"verdict": self.verdict, "sentence": self.sentence, **fields}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Diagnosis:
        """The diagnosis that :meth:`to_json` wrote."""
        return from_document(document, cls)

    def _sentences(self) -> Iterator[str]:
        titles = {status: [f.title for f in self.findings if f.status == status] for status in get_args(Status)}
        if self.verdict == "good":
            yield f"Yes to every question: {_quoted(titles['good'])}"
        if titles["bad"]:
            yield f"No: {_quoted(titles['bad'])}"
        if titles["warn"]:
            yield f"In part: {_quoted(titles['warn'])}"
        if titles["unknown"]:
            yield f"Not answered: {_quoted(titles['unknown'])}"
        if self.not_asked:
            yield f"Stopped before these were asked: {', '.join(self.not_asked)}."
        if not self.findings:
            yield "No question arose for such a pair."


def _text(value: float | None) -> str:
    return "" if value is None else short(value)


def _quoted(titles: list[str]) -> str:
    return ", ".join(f"“{title}”" for title in titles)
