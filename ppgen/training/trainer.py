"""The one training loop: turns of players, each with one fused optimizer, over compiled steps.

All that changes in training is here and in :meth:`Trainer.tensors`, :meth:`Trainer.facts`, so that a run that is
stopped and restored goes on with the same bits as one that never stopped.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NoReturn, TypeVar

import torch
from pydantic import AfterValidator, AliasChoices, Field
from torch import Tensor, nn

from ppgen.data import Dataset
from ppgen.errors import DivergedError, UsageError, shown
from ppgen.files.documents import Document, WholeNumber
from ppgen.machine.memory import keep_large_blocks
from ppgen.machine.precision import check_precision
from ppgen.machine.ranks import Ranks
from ppgen.objectives.objective import Objective, State
from ppgen.pairs.looking import goes_apart, looked_at, looking
from ppgen.pairs.nonfinite import first_nonfinite
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated, kept_buffers, swapped
from ppgen.pairs.tracing import Batch, Program, automatic_guides, divides
from ppgen.training.batches import Interleaved, first_batches
from ppgen.training.books import Books, Given, Move, NotFiniteError
from ppgen.training.choices import Choices
from ppgen.training.chunks import Chunk, Chunks
from ppgen.training.device_books import books_of
from ppgen.training.learner import Learner, fixed_and_moving, load_state, state_of, under, untied
from ppgen.training.optimizers import slots_of
from ppgen.training.options import TrainingOptions
from ppgen.training.sharing import Sharing
from ppgen.training.stepping import Steps
from ppgen.training.steps import StepResult

__all__ = ["Progress", "Trainer"]

T = TypeVar("T")

_READ_AHEAD = 3
"""Turns whose batches are read from disk beforehand."""

_LOOKED_AHEAD = 100_000
"""Turns, at most, after which the learning rate is known to be a number before training begins."""


def _check_sums(sums: dict[str, float]) -> dict[str, float]:
    names = {name.removesuffix("/count") for name in sums}
    for name in sorted(names):
        if name not in sums or not sums.get(f"{name}/count", 0) > 0:
            raise UsageError(f"expected {shown(name)} and a positive '{name}/count', got {sorted(sums)}")
    return sums


class Progress(Document):
    """How far a training has come: :meth:`Trainer.facts`."""

    turn: WholeNumber
    cursor: WholeNumber
    sums: Annotated[dict[str, float], AfterValidator(_check_sums)]
    choices: dict[str, bool] = Field(default_factory=dict, validation_alias=AliasChoices("choices", "onednn"))
    """How it computes, see :class:`ppgen.training.choices.Choices`."""


class Trainer:
    """Trains a pair on a data set with an objective.

    Args:
        pair: on the device where it is to be trained.
        data: on the same device; of several parts, the batches take turns (:class:`Interleaved`).
        objective: with its schedules, if any.
        options: see :class:`ppgen.training.options.TrainingOptions`.
        ranks: that train it together; None: this process alone.

    Raises:
        UsageError: the pair, the objective and the data do not go together; found by one run of the pair; patience
            for a game, or without validation data; what cannot be shared among several ranks.
    """

    def __init__(
        self, pair: Pair, data: Dataset, objective: Objective, options: TrainingOptions, ranks: Ranks | None = None
    ) -> None:
        self.data, self.objective, self.options = data, objective, options
        self.ranks = ranks or Ranks()
        self.sharing = Sharing(self.ranks, objective)
        self.parts = data.parts
        self.batches = Interleaved([part.train for part in self.parts], options.batch_size, options.seed)
        self.sharing.check(self.batches.smallest)
        examples = first_batches(pair, data, options.batch_size, options.seed)
        batch = examples[0]
        self.chunks, self._looks = Chunks(pair, objective, options.chunk), Chunks(pair, objective)
        for example in examples:
            self.chunks.check(example, objective.at(0).total_particles)
            self._looked_at(example, lambda few, _: objective.check(Program(pair.model, pair.guide), few))
        num_data = sum(len(part.train[0]) for part in self.parts)
        self.learner = Learner(pair, objective.parameters(pair, batch), num_data).to(batch[0].device)
        check_precision(options.precision, self.learner)
        _check_amortised(pair, examples, num_data, self.ranks)
        self.players = objective.players()
        self.turn = self.cursor = 0
        for turn in (0, min(self.total_turns, _LOOKED_AHEAD)):
            options.rate(turn, self.total_turns)
        with isolated():
            state = self._looked_at(batch, lambda few, now: now.initial_state(self.learner.program, few))
        self.state: State = {name: value.clone() for name, value in state.items()}
        self._arguments = {player.name: self.learner.arguments(player) for player in self.players}
        self._values = self.learner.values()
        self.optimizers = {
            player.name: options.optimizer.make(list(self.learner.owned_by(player).values()), player, options.lr)
            for player in self.players
        }
        self.steps = Steps(self.learner, objective, [part.draw for part in self.parts], self.chunks, options)
        self._books = self._new_books()
        held_out = [tuple(entry[: options.batch_size] for entry in part.valid) for part in self.parts if part.valid]
        tried = [*examples, *held_out]
        self._check_patience(self._judged(tried, sum(len(batch[0]) for batch in tried)))
        keep_large_blocks()
        self.state = self.sharing.begin(self.learner, self.state, options.seed)
        if self.batches.on_disk and self.device.type == "cuda":
            warnings.warn(
                "data that stay in files are brought by the host, and their turns are no CUDA graphs: steps run one by "
                "one; tensors that fit on the GPU train faster.",
                stacklevel=2,
            )

    @property
    def turns_per_epoch(self) -> int:
        """Turns in which about every training datum is shown once."""
        return max(1, self.batches.per_epoch // self._moves_per_turn)

    @property
    def _moves_per_turn(self) -> int:
        return sum(player.steps for player in self.players)

    @property
    def total_turns(self) -> int:
        """Turns of the whole run."""
        return self.options.steps or self.options.epochs * self.turns_per_epoch

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return self.cursor / self.batches.per_epoch

    def take_turn(self) -> None:
        """One turn: every player moves as many steps as it has. On a GPU it may not have ended yet: :meth:`settle`.

        Raises:
            UsageError: a number was not finite; on a GPU, in some turn before.
        """
        if self.batches.on_disk:
            self._expect(self._planned(_READ_AHEAD))
        self._judged_by(self._books.take_turn)
        self.turn += 1
        self.cursor += self._moves_per_turn

    def settle(self) -> None:
        """Wait for the turns taken so far.

        Raises:
            UsageError: a number was not finite.
        """
        self._judged_by(self._books.settle)

    @property
    def sums(self) -> dict[str, float]:
        """Of what the steps reported since the last report, the sums, and ``name/count``."""
        return self._books.sums

    @sums.setter
    def sums(self, sums: Mapping[str, float]) -> None:
        self._books.sums = dict(sums)

    def report(self) -> dict[str, float]:
        """Means of what the steps reported since the last call."""
        self.settle()
        sums = self.sums
        means = {name: total / sums[f"{name}/count"] for name, total in sums.items() if f"{name}/count" in sums}
        self.sums = {}
        return means

    def validate(self, rows: int = 500) -> dict[str, float]:
        """The first player's loss and metrics on the validation data of all parts, per datum; empty without any.

        In ``eval()``, under one seed.
        """
        splits = [part.valid for part in self.parts if part.valid]
        pieces = [(split, start) for split in splits for start in range(0, len(split[0]), rows)]
        own = pieces[self.ranks.rank :: self.ranks.size]
        batches = (tuple(entry[start : start + rows] for entry in split) for split, start in own)
        return self.ranks.sums(self._judged(batches, sum(len(split[0]) for split in splits)))

    def _judged(self, batches: Iterable[Batch], num_data: int) -> dict[str, float]:
        """The first player's loss and metrics, per datum, over batches of so many data in all."""
        player, objective = self.players[0].name, self.objective.at(self.turn)
        sums: dict[str, float] = {}
        buffers = {name: value.clone() for name, value in self.learner.named_buffers()}  # those of training stay
        still = swapped(self.learner, buffers)
        with looking(self.learner, self.sharing.seed(self.options.seed)), still:
            for batch in batches:
                play = partial(self._played, player, objective, batch)
                for name, value in self._looks.fitting(batch, objective.total_particles, play).items():
                    sums[name] = sums.get(name, 0.0) + value / num_data
        return sums

    def _played(self, player: str, objective: Objective, batch: Batch, chunk: Chunk) -> dict[str, float]:
        """The player's loss and metrics, summed over the data of a batch."""
        now, sums = objective.taking(chunk.particles), defaultdict[str, float](float)
        for part in chunk.parts(batch):
            outcome = now.play(player, self.learner.program, part, self.state)
            for name, value in {"loss": outcome.loss / outcome.num_data, **outcome.metrics}.items():
                sums[name] += float(value) * len(part[0])
        return sums

    def _looked_at(self, batch: Batch, look: Callable[[Batch, Objective], T]) -> T:
        """A look at a batch and at the objective as it begins, or at as many data and particles as memory holds."""
        now = self.objective.at(0)

        def at_first(chunk: Chunk) -> T:
            return look(next(chunk.parts(batch)), now.taking(chunk.particles))

        return self._looks.fitting(batch, now.total_particles, at_first)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that the run needs to go on: parameters, buffers, optimizers, state, random numbers."""
        self.settle()
        found = {f"learner.{name}": value for name, value in untied(self.learner).items()}
        for player, optimizer in self.optimizers.items():
            found |= {f"optimizer.{player}.{name}": value for name, value in slots_of(optimizer).items()}
        found |= {f"state.{name}": value for name, value in self.sharing.whole(self.state).items()}
        return found | self.sharing.random(self.device)

    def facts(self) -> dict[str, Any]:
        """The numbers beside the tensors."""
        self.settle()
        return {"turn": self.turn, "cursor": self.cursor, "sums": self.sums, "choices": dict(self.steps.choices.taken)}

    def restore(self, tensors: Mapping[str, Tensor], facts: Progress) -> None:
        """Go on from what :meth:`tensors` and :meth:`facts` gave.

        Raises:
            UsageError: the tensors are those of another pair or objective, or facts and tensors do not go together.
        """
        moves = facts.turn * self._moves_per_turn
        if facts.cursor != moves:
            raise UsageError(
                f"the checkpoint has shown {facts.cursor} batches after {facts.turn} turns, expected {moves}: it was "
                "edited; restore it, or train again into another --out."
            )
        load_state(self.learner, under("learner.", tensors))
        for player in self.players:
            slots = under(f"optimizer.{player.name}.", tensors)
            self.options.optimizer.load(self.optimizers[player.name], slots, player, facts.turn)
        state = self.sharing.part(state_of(tensors))
        for name, value in self.state.items():
            if name not in state or state[name].shape != value.shape or state[name].dtype != value.dtype:
                got = f"{tuple(state[name].shape)} {state[name].dtype}" if name in state else "nothing"
                raise UsageError(
                    f"the checkpoint's state {shown(name)} is {got}, this run's is {tuple(value.shape)} {value.dtype}: "
                    "resume with the objective's options and batch size it was trained with."
                )
        self.state = {name: state[name].to(self.device) for name in self.state}
        self.turn, self.cursor = facts.turn, facts.cursor
        self.steps.choices = Choices(facts.choices)
        self._books = self._new_books()
        self.sums = facts.sums
        self.sharing.set_random(tensors, self.device, self.options.seed, self.turn)

    @property
    def device(self) -> torch.device:
        """Where training runs."""
        return self.batches.device

    def _check_patience(self, report: Mapping[str, float]) -> None:
        """Stopping early needs a number that falls as training goes well: a bound, or the loss of a single player."""
        if self.options.patience is not None and len(self.players) > 1 and "bound" not in report:
            raise UsageError(
                f"patience waits for validation to improve, and {type(self.objective).__name__} validates the loss of "
                "one of its players, which rises when the other gains: leave patience out."
            )
        if self.options.patience is not None and not any(part.valid for part in self.parts):
            raise UsageError(
                f"patience waits for validation to improve, and data {shown(self.data.spec.name)} hold nothing out: "
                "give validation data, ppgen.data.as_dataset(x, valid=...), or leave patience out."
            )

    def _new_books(self) -> Books:
        like = next(iter(self._arguments[self.players[0].name][0].values()))  # x may be whole numbers
        return books_of(self._planned, self.play, like, self._captures, self._changed)

    def _captures(self, move: Move) -> bool:
        """Whether a move can be part of a CUDA graph: it is compiled, and the host does not bring its batch."""
        alone = self.ranks.size == 1  # the graph would hold the exchange
        return alone and self.steps.compiles(move) and not self.batches.parts[move.part].on_disk

    def _changed(self) -> list[Tensor]:
        """What a turn changes, beside the books."""
        slots = (slot for o in self.optimizers.values() for kept in o.state.values() for slot in kept.values())
        return [*self._values.values(), *self.state.values(), *slots]

    def _planned(self, ahead: int) -> list[Move]:
        """The moves of the turn that is so many turns ahead."""
        turn, cursor = self.turn + ahead, self.cursor + ahead * self._moves_per_turn
        fixed, moving = fixed_and_moving(self.objective.schedules(turn))
        rate = self.options.rate(turn, self.total_turns)
        moves = []
        in_order = [player for player in self.players for _ in range(player.steps)]
        for number, player in enumerate(in_order):
            part, rows = self.batches.at(cursor + number)
            share = len(rows) / self.batches.largest  # an epoch's steps weigh every datum alike
            own = self.ranks.shard(rows)
            weight = len(own) / len(rows)
            moves.append(Move(player, part, own, share, fixed, moving, player.rate * rate, weight))
        return moves

    def _expect(self, moves: Sequence[Move]) -> None:
        """Have the batches of these moves read while others are made."""
        for move in moves:
            self.batches.parts[move.part].expect(move.rows, (_READ_AHEAD + 1) * len(moves))

    def play(self, move: Move, given: Given) -> None:
        """One step of one player, with these numbers; what comes of it is for the books."""
        books, optimizer = self._books, self.optimizers[move.player.name]
        (group,) = optimizer.param_groups
        stepped = self._stepped(move, given)
        gradients, report, state, buffers = self.sharing.mean(stepped, self.state, self._values, move.weight)
        gradients = [_laid_out_like(p, g) for p, g in zip(group["params"], gradients, strict=True)]
        norm = nn.utils.get_total_norm(gradients)
        prefix = f"{move.player.name}/" if len(self.players) > 1 else ""
        named = {f"{prefix}{name}": value for name, value in {**report, "gradient_norm": norm}.items()}
        books.judge(named, (f"{prefix}loss", f"{prefix}gradient_norm"), move.share)
        for parameter, gradient in zip(group["params"], gradients, strict=True):
            parameter.grad = gradient
        if self.options.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(group["params"], self.options.clip_norm, norm)
        group["lr"] = given.rate
        books.step(optimizer)
        self.state = {name: books.keep(self.state[name], value) for name, value in state.items()}
        for name, value in buffers.items():
            self._values[name].copy_(books.keep(self._values[name], value))

    def _stepped(self, move: Move, given: Given) -> StepResult:
        """What the player's step function gives of this rank's rows, gradients weighted by the batch's share."""
        owned, others = self._arguments[move.player.name]
        batch = self.batches.parts[move.part].take(given.rows)
        arguments = (owned, others, self.state, dict(given.moving), batch)
        gradients, report, state, buffers = self.steps.take(move, arguments, self._books.take_back)
        gradients = gradients if move.share == 1 else [gradient * move.share for gradient in gradients]
        return gradients, report, state, buffers

    def _judged_by(self, turns: Callable[[], None]) -> None:
        try:
            turns()
        except NotFiniteError as found:
            self._stop(self.cursor + found.place)

    def _stop(self, cursor: int) -> NoReturn:
        """Say what was not finite in this move; parameters, state and random numbers are those before it."""
        self.turn, within = divmod(cursor, self._moves_per_turn)
        self.cursor = cursor - within
        move = self._planned(0)[within]
        owned, part = self._arguments[move.player.name][0], self.parts[move.part]
        with torch.random.fork_rng():
            found, report, *_ = self._stepped(move, self._books.given(move))
        gradients = dict(zip(owned, found, strict=True))
        batch = part.draw(self.batches.parts[move.part].take(move.rows))
        where = first_nonfinite(self.learner.program, batch, gradients)
        where = self.sharing.whose(where, [report["loss"], nn.utils.get_total_norm(found)])
        raise DivergedError(
            f"training stopped at step {self.turn}: {where}; the last checkpoint is the one before: lower lr "
            f"(now {self.options.rate(self.turn, self.total_turns):g}), set clip_norm, or bound that site's scales."
        )


def _laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with the parameter's strides, which a fused optimizer asks for; Inductor may choose others."""
    same = gradient.stride() == parameter.stride()
    return gradient if same else torch.empty_like(parameter).copy_(gradient)


def _check_amortised(pair: Pair, examples: Sequence[Batch], num_data: int, ranks: Ranks) -> None:
    """Minibatches are for guides that are functions of a datum; an autoguide has parameters for each of the first B."""
    for batch in examples:
        if ranks.size > 1:
            with kept_buffers(pair.model, pair.guide):
                apart = goes_apart(pair, batch)
            if not apart:
                raise UsageError(
                    f"{ranks.size} ranks cut each batch in parts, and to {type(pair).__name__} a batch is one datum: "
                    "give the model a data plate, or train in one process."
                )
        if automatic_guides(pair.guide) and len(batch[0]) < num_data * ranks.size:
            one = looked_at(pair, batch)
            if one.latents and one.plate is not None and not divides(one):
                raise UsageError(
                    f"the guide has parameters for each datum ({', '.join(one.latents)}), and batches of "
                    f"{len(ranks.shard(batch[0]))} of {num_data} data would share them: train with "
                    f"batch_size={num_data}{' in one process' if ranks.size > 1 else ''}, or with a guide that is a "
                    "function of a datum."
                )
