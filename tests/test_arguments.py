"""Arguments are what their annotations say: what is taken, what is refused, and in which words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from annotated_types import Ge, Len
from torch import nn

import ppgen
from ppgen.arguments import Count, Share, Sizes, as_typed, check_fields, checked, kinds_of
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.inference import ELBO, Beta, DReG, Renyi
from ppgen.models import VAE
from ppgen.registry import MODELS, OBJECTIVES, Registry
from ppgen.schedules import Scheduled, linear, stepwise


def takes(cls: Any, name: str) -> bool:
    kinds = kinds_of(cls)
    return name in kinds and kinds[name].takes_schedules


@checked
def take(  # type: ignore[no-untyped-def]  # an argument without annotation is not checked
    whole: int = 0,
    count: Count = 1,
    number: float = 0.0,
    share: Share = 0.5,
    flag: bool = False,
    text: str | None = None,
    choice: Literal["one", "two"] = "one",
    sizes: Sizes = (),
    pair: Annotated[Sequence[int], Len(2, 2)] = (1, 2),
    when: int | str = 0,
    layer: nn.Module | None = None,
    anything: Any = None,
    unsaid=None,
) -> dict[str, Any]:
    return dict(locals())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", -(2**63)),
        ("number", 3),
        ("number", -1.5),
        ("number", np.float64(0.25)),
        ("flag", True),
        ("text", None),
        ("sizes", [1, 2]),
        ("sizes", (3,)),
        ("when", "init"),
        ("layer", nn.Identity()),
        ("anything", {1, 2}),
        ("unsaid", {1, 2}),
    ],
    ids=shown,
)
def test_what_the_annotation_says_is_taken_as_it_is(name: str, value: Any) -> None:
    assert take(**{name: value})[name] is value or take(**{name: value})[name] == value


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("whole", 2.0, "whole must be a whole number, got 2.0."),
        ("whole", True, "whole must be a whole number, got True."),
        ("whole", "2", "whole must be a whole number, got '2'."),
        ("whole", 2**63, "whole must be a whole number, got 9223372036854775808, which has more than 64 bits."),
        (
            "whole",
            10**5000,
            "whole must be a whole number, got a whole number of 16610 bits, which has more than 64 bits.",
        ),
        ("count", 0, "count must be a whole number of at least 1, got 0."),
        ("number", math.nan, "number must be a number, got nan."),
        ("number", math.inf, "number must be a number, got inf, which is not finite."),
        ("number", 10**400, "number must be a number, got a whole number of 1329 bits, which has more than 64 bits."),
        ("number", False, "number must be a number, got False."),
        ("share", 1.0, "share must be a number of at least 0 and below 1, got 1.0."),
        ("flag", "no", "flag must be True or False, got 'no'."),
        ("flag", 1, "flag must be True or False, got 1."),
        ("text", 3, "text must be text, got 3."),
        ("choice", "three", "choice must be 'one' or 'two', got 'three'."),
        ("sizes", 3, "sizes must be a list of whole numbers of at least 1, got 3: write [3]."),
        ("sizes", 0, "sizes must be a list of whole numbers of at least 1, got 0."),
        ("sizes", {1, 2}, "sizes must be a list of whole numbers of at least 1, got {1, 2}."),
        ("sizes", {1: 2}, "sizes must be a list of whole numbers of at least 1, got {1: 2}."),
        ("sizes", "12", "sizes must be a list of whole numbers of at least 1, got '12'."),
        ("sizes", [[1]], "sizes must be a list of whole numbers of at least 1, got [[1]]."),
        ("pair", [1], "pair must be a list of whole numbers (2 of them), got [1]."),
        ("when", 0.5, "when must be a whole number, or text, got 0.5."),
        ("layer", 3, "layer must be a Module, got 3."),
    ],
    ids=shown,
)
def test_what_the_annotation_does_not_say_is_refused(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        take(**{name: value})
    assert str(refused.value) == sentence


def test_a_signature_stays_what_it_was() -> None:
    assert take.__name__ == "take"
    with pytest.raises(TypeError, match="nope"):
        take(nope=1)  # type: ignore[call-arg]


def test_fields_of_a_dataclass_are_checked_where_it_is_made() -> None:
    @dataclass(frozen=True)
    class Settings:
        size: Count = 1
        rate: Annotated[float, Ge(0)] = 0.0

        def __post_init__(self) -> None:
            check_fields(self, "Settings")

    assert Settings(size=3, rate=2) == Settings(3, 2.0)
    with pytest.raises(UsageError, match="size of Settings must be a whole number of at least 1, got 0"):
        Settings(size=0)


def test_a_users_own_pair_is_checked_by_its_annotations() -> None:
    class Mine(VAE):
        def __init__(self, spec: DataSpec, dim: Count = 2, *, wide: bool = False, free: Any = None) -> None:
            super().__init__(spec, dim, hidden=(4,))

    spec = DataSpec("x", 3, "real")
    assert Mine(spec, 3, free={1}).arguments == {"spec": spec, "dim": 3, "wide": False, "free": {1}}
    with pytest.raises(UsageError, match="wide must be True or False, got 'no'"):
        Mine(spec, wide="no")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="spec must be a DataSpec, got 3"):
        Mine(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("no", False),
        ("Yes", True),
        ("true", True),
        ("FALSE", False),
        ("on", True),
        ("off", False),
        (1, True),
        (0, False),
    ],
)
def test_a_word_of_the_shell_says_true_or_false_to_a_flag_alone(word: Any, value: bool) -> None:
    given = {"flag": word, "text": word, "anything": word}
    assert as_typed(take, given) == {"flag": value, "text": word, "anything": word}


@pytest.mark.parametrize("word", ["maybe", 2, None, [True]])
def test_another_word_stays_and_is_refused(word: Any) -> None:
    assert as_typed(take, {"flag": word}) == {"flag": word}
    with pytest.raises(UsageError, match="flag must be True or False"):
        take(flag=word)


def test_too_large_a_model_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"model 'vae' with {'latent_dim': 1099511627776} takes more memory"):
        ppgen.make_pair("vae", DataSpec("x", 3, "real"), latent_dim=2**40)


def test_what_is_shown_is_short() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in ("x" * 10_000, 10**5000, deep, {str(i): i for i in range(1000)}, torch.zeros(1000, 1000)):
        assert len(shown(value)) < 300


EACH_MUST = "and its values must each be a"


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("iwelbo", {"num_particles": linear(1, 5, 10)}, f"linear(1, 5, 10) gives 1.0, {EACH_MUST} whole number"),
        ("iwelbo", {"num_particles": stepwise((0, 9), (1, 0))}, f"gives 0, {EACH_MUST} whole number of at least 1"),
        ("vimco", {"num_particles": stepwise((0, 9), (2, 1))}, f"gives 1, {EACH_MUST} whole number of at least 2"),
        ("beta", {"beta": linear(0, -1, 10)}, f"gives -1.0, {EACH_MUST} number of at least 0"),
        ("beta", {"beta": "linear(0, 1, 0)"}, "beta of Beta: steps of linear must be a whole number of at least 1"),
        ("beta", {"beta": ELBO()}, "beta of Beta must be a number of at least 0, or a schedule of such, got ELBO("),
        ("rebar", {"temperature": linear(1, 2, 3)}, "a number above 0, got linear(1, 2, 3); it takes no schedule."),
        ("beta", {"free_bits": "linear(0, 1, 9)"}, "a schedule may be given for num_particles and beta alone"),
        ("pcd", {"num_chains": stepwise((0, 5), (1, 2))}, "a schedule may be given for num_steps alone"),
        ("dreg", {"bound": {"name": "dreg", "options": {}}}, "bound of DReG must be a function of log-weights"),
        ("dreg", {"bound": {"name": "renyi", "options": {"alpa": 1}}}, "bound 'renyi' has no option 'alpa': did you"),
        ("dreg", {"bound": {"name": "renyi", "options": [1]}}, "bound of DReG must be a function of log-weights"),
        (
            "dreg",
            {"bound": "renyy"},
            "bound of DReG: expected a registered objective, got 'renyy': did you mean",
        ),
    ],
    ids=shown,
)
def test_schedules_and_bounds_are_taken_where_they_mean_something(name: str, options: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        ppgen.make_objective(name, **options)
    assert sentence in str(refused.value)


def test_schedules_and_bounds_are_read_from_what_a_config_holds() -> None:
    nested = {"name": "renyi", "options": {"alpha": 0.3}}
    assert ppgen.make_objective("beta", beta="linear(0, 1, 10)") == Beta(beta=linear(0, 1, 10))
    assert ppgen.make_objective("dreg", bound=nested) == DReG(bound=Renyi(alpha=0.3))


def test_a_value_of_a_users_schedule_is_checked_at_its_step() -> None:
    objective = Beta(beta=lambda step: 2.0 - step)
    assert objective.schedules(1) == {"beta": 1.0}
    with pytest.raises(UsageError, match="beta of Beta at step 3 must be a number of at least 0"):
        objective.schedules(3)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_option_takes_a_schedule_where_its_annotation_says_so(name: str) -> None:
    cls: Any = OBJECTIVES[name].cls
    takers = {key for key, kind in kinds_of(cls).items() if kind.takes_schedules}
    known = {"num_particles", "num_steps", "num_extra", "auxiliary", "beta", "alpha", "temperature", "scale", "noise"}
    assert takers <= known
    for key in takers:
        value = getattr(cls(), key)
        assert cls(**{key: stepwise((0, 5), (value, value))}).schedules(9) == {key: value}
    for key in {field for field in vars(cls()) if field not in takers}:
        with pytest.raises(UsageError):
            cls(**{key: stepwise((0, 5), (2, 3))})


COUNTED = [name for name, spec in OBJECTIVES.items() if takes(spec.cls, "num_particles")]


@pytest.mark.parametrize("numbers", [(2, 3), (3, 2)], ids=["more", "fewer"])
@pytest.mark.parametrize("name", COUNTED)
def test_an_objective_that_takes_a_schedule_of_particles_trains_with_one(name: str, numbers: tuple[int, int]) -> None:
    objective = ppgen.make_objective(name, num_particles=stepwise((0, 1), numbers))
    tiny = MODELS["sbn" if objective.needs_discrete else "linear_gaussian"].tiny
    assert tiny is not None
    pair, (x,) = tiny()
    data = ppgen.dataset_from(x.repeat(4, 1), observation=pair.arguments["spec"].observation)
    run = ppgen.fit(pair, data, objective, steps=2, batch_size=4, eager=True)
    assert run.metrics[-1]["step"] == 2


def test_a_registry_is_a_mapping() -> None:
    assert OBJECTIVES.get("nope") is None
    assert OBJECTIVES.get("nope", 3) == 3
    unhashable: Any = []
    assert "nope" not in OBJECTIVES
    assert unhashable not in OBJECTIVES
    with pytest.raises(KeyError, match="got 'iwelb': did you mean 'iwelbo'"):
        OBJECTIVES["iwelb"]
    with pytest.raises(UsageError, match=r"expected a registered objective, got 'x.*x': Known names"):
        OBJECTIVES["x" * 10_000]


def test_a_class_that_is_defined_again_takes_the_place_of_its_former_self() -> None:
    registry = Registry("model")

    def cell() -> type:
        @registry.register("mine", summary="", reference="", year=2026)
        class Mine:
            pass

        return Mine

    first, second = cell(), cell()
    assert registry["mine"].cls is second is not first

    with pytest.raises(UsageError, match=r"model 'mine' is registered twice: by .*cell.<locals>.Mine and by .*Other"):

        @registry.register("mine", summary="", reference="", year=2026)
        class Other:
            pass


def test_the_annotation_of_a_schedule_is_one_of_its_values() -> None:
    @checked
    def run(rate: Scheduled[Share] = 0.0) -> object:
        return rate

    assert run(0.5) == 0.5
    assert run(linear(0, 0.5, 10)) == linear(0, 0.5, 10)
    with pytest.raises(UsageError, match=r"rate: the schedule linear\(0, 1, 10\) gives 1.0"):
        run(linear(0, 1, 10))
