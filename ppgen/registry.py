"""What can be named: one dict a kind (models, objectives, data), holding a frozen spec for each entry.

To add one: 1. write the class or loader in a file of its own; 2. decorate it with ``register_model``,
``register_objective`` or ``register_data``; 3. export it from its package's ``__init__``. The conformance
suite, the command line and the tables of the documents read the registry and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ppgen.arguments import checked, one_of, options_of
from ppgen.errors import UsageError, shown
from ppgen.user_code import file_and_name, module_of

__all__ = [
    "DATA",
    "MODELS",
    "OBJECTIVES",
    "Recommended",
    "Registry",
    "Spec",
    "register_data",
    "register_model",
    "register_objective",
]

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Recommended:
    """What trains a model well where nobody says otherwise.

    Args:
        objective: a registered name.
        options: of the objective.
        training: of :class:`ppgen.training.options.TrainingOptions`. Steps hold for any number of data, epochs do not.
        kinds: of data for which it holds, as :attr:`ppgen.DataSpec.observation` names them; none: for all.
    """

    objective: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """One entry: the class (or loader) behind a name, and what a table says of it."""

    name: str
    cls: Callable[..., Any]
    summary: str
    reference: str
    year: int
    link: str = ""
    """Where the reference is to be read: arXiv, a DOI, or whoever published it."""
    tags: tuple[str, ...] = ()
    tiny: Callable[[], Any] | None = None
    """A zero-argument factory of a seconds-fast case: ``(pair, batch)`` for a model, the objective for an objective."""
    recommended: tuple[Recommended, ...] = ()
    """Of a model: what is taken where no objective is named, the first that holds for the kind of data."""

    def recommended_for(self, kind: str) -> Recommended | None:
        """What is recommended for data of a kind; None: nothing is."""
        return next((one for one in self.recommended if not one.kinds or kind in one.kinds), None)

    @property
    def options(self) -> dict[str, Any]:
        """What -M, -O or -D can set, with its default; the data's spec, which has none, is not among it."""
        return options_of(self.cls)


class Registry(Mapping[str, Spec]):
    """A read-only mapping from name to :class:`Spec`, filled by its ``register`` decorator.

    A class that is defined again, as a notebook's cell does that is run again, takes the place of its former self.

    Raises:
        UnknownNameError: a name is looked up that nobody registered; the nearest names are suggested.
        UsageError: a name is registered by another class too; both owners are named.
    """

    def __init__(self, kind: str, thing: str = "class") -> None:
        self.kind, self.thing = kind, thing
        self._specs: dict[str, Spec] = {}

    def register(
        self,
        name: str,
        *,
        summary: str,
        reference: str,
        year: int,
        link: str = "",
        tags: tuple[str, ...] = (),
        tiny: Callable[[], Any] | None = None,
        recommended: Recommended | tuple[Recommended, ...] = (),
    ) -> Callable[[T], T]:
        """A decorator that enters a class under ``name``, or a loader, whose calls are checked from then on."""
        each = recommended if isinstance(recommended, tuple) else (recommended,)

        def enter(cls: T) -> T:
            first = self._specs[name].cls if name in self else cls
            if _owner(first) != _owner(cls):
                raise UsageError(
                    f"{self.kind} {shown(name)} is registered twice: by {_owner(first)} and by {_owner(cls)}; rename "
                    "one."
                )
            made = cls if isinstance(cls, type) else checked(cls)
            self._specs[name] = Spec(name, made, summary, reference, year, link, tags, tiny, each)
            return made

        return enter

    def entry(self, name: str) -> Spec:
        """What the user names: a registered entry, or ``path/to/file.py:thing``, whose file is executed.

        Raises:
            UsageError: there is no such name, file, or thing in it; the file raises.
        """
        found = file_and_name(name)
        if found is None:
            return self[name]
        path, attribute = found
        module = module_of(path)
        own = [key for key, value in vars(module).items() if self._is_own(value, module.__name__)]
        thing = vars(module).get(attribute)
        if thing is None:
            one_of(f"{path} has no {self.thing}", attribute, own)
        if not callable(thing):
            raise UsageError(f"{name} must be a {self.thing}, got {shown(thing)}: it has {', '.join(own) or 'none'}.")
        made = thing if isinstance(thing, type) else checked(thing)
        return Spec(name, made, summary=f"a {self.thing} of one's own", reference=path, year=0)

    def _is_own(self, value: Any, module: str) -> bool:
        """Whether a module defines it, and it is what this registry holds."""
        kind = isinstance(value, type) if self.thing == "class" else callable(value) and not isinstance(value, type)
        return kind and getattr(value, "__module__", "") == module

    def __getitem__(self, name: str) -> Spec:
        one_of(f"expected a registered {self.kind}, got", name, self._specs)
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._specs))

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._specs


def _owner(cls: Callable[..., Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


MODELS = Registry("model")
OBJECTIVES = Registry("objective")
DATA = Registry("data set", "function")

register_model = MODELS.register
register_objective = OBJECTIVES.register
register_data = DATA.register
