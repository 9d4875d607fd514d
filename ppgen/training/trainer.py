"""The one training loop: turns of players, each with one fused optimizer, over compiled steps.

All that changes in training is here and in :meth:`Trainer.tensors`, :meth:`Trainer.facts`, so that a run that is
stopped and restored goes on with the same bits as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ppgen.data import Dataset
from ppgen.errors import DivergedError, UsageError, option
from ppgen.machine.memory import keep_large_blocks
from ppgen.machine.precision import check_precision
from ppgen.machine.ranks import Ranks
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Player, State
from ppgen.pairs.nonfinite import Watch
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Batch, Program
from ppgen.training.batches import Interleaved, first_batches, say_if_brought
from ppgen.training.beginning import begin_at_data
from ppgen.training.books import Books, Given, Move, NotFiniteError
from ppgen.training.choices import Choices
from ppgen.training.chooser import Chooser
from ppgen.training.chunks import Chunks
from ppgen.training.device_books import books_of
from ppgen.training.fitness import check_amortised, check_patience
from ppgen.training.gradient_norm import gradient_norm
from ppgen.training.learner import Learner, checked_values, fixed_and_moving, load_state, state_of, under, untied
from ppgen.training.looks import Looks
from ppgen.training.optimizers import laid_out_like, slots_of
from ppgen.training.options import TrainingOptions
from ppgen.training.progress import Progress
from ppgen.training.replay import WatchedLearner, what_is_not_finite
from ppgen.training.sharing import Sharing
from ppgen.training.stages import spans_of, standing_in
from ppgen.training.stepping import Steps
from ppgen.training.steps import StepResult

__all__ = ["Trainer"]

_READ_AHEAD = 4
"""Turns whose batches are read from disk beforehand."""

_LOOKED_AHEAD = 100_000
"""Turns, at most, after which the learning rate is known to be a number before training begins."""


class Trainer:
    """Trains a pair on a data set with an objective, stage by stage.

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
        self.pair, self.data, self.options = pair, data, options
        self.ranks = ranks or Ranks()
        self.parts = data.parts
        stages = objective.stages(pair)
        whole = any(stage.objective.whole_epochs for stage in stages)
        self.batches = Interleaved([part.train for part in self.parts], options.batch_size, options.seed, whole=whole)
        self._examples = first_batches(pair, data, options.batch_size, options.seed)
        check_amortised(pair, self._examples, self._num_data, self.ranks)
        begin_at_data(pair, data, options.seed)
        self.turn = self.cursor = 0
        self.choices, self.compiling = Choices(), 0.0
        self.spans = spans_of(stages, options, self.batches.per_epoch)
        for number in reversed(range(len(self.spans))):  # so that what cannot be trained is known now
            self._enter(number)
        self.sharing.begin_random(options.seed)
        keep_large_blocks()
        say_if_brought(self.batches)

    def _enter(self, number: int) -> None:
        """Begin a stage: all but the pair is made anew."""
        self.stage_number, self.span = number, self.spans[number]
        objective, options = self.span.stage.objective, self.options
        self.objective, self.sharing = objective, Sharing(self.ranks, objective)
        self.sharing.check(self.batches.smallest)
        batch = self._examples[0]
        self.chunks, self._looks = Chunks(self.pair, objective, options.chunk), Looks(self.pair, objective)
        program = Program(self.pair.model, self.pair.guide)
        for example in self._examples:
            self._looks.at_first(example, lambda few, _: objective.check(program, few))
            self.chunks.check(example, objective.at(0).particles_at(program, example))
        self.learner = Learner(self.pair, objective.parameters(self.pair, batch), self._num_data).to(batch[0].device)
        check_precision(options.precision, self.learner)
        self.players = objective.players()
        for turn in (self.span.begin, min(self.span.end, self.span.begin + _LOOKED_AHEAD)):
            self.rate(turn)
        with isolated():
            state = self._looks.at_first(batch, lambda few, now: now.initial_state(self.learner.program, few))
        self.state: State = {name: value.clone() for name, value in state.items()}
        self._arguments = {player.name: self.learner.arguments(player) for player in self.players}
        self._values = self.learner.values()
        moved = {player: list(self.learner.owned_by(player).values()) for player in self.players}
        self.optimizers = {
            player.name: options.optimizer.make(parameters, player, options.lr)
            for player, parameters in moved.items()
            if parameters
        }
        draws = [part.draw for part in self.parts]
        self.steps = Steps(self.learner, objective, draws, self._examples, self.chunks, options)
        self.steps.choices = self.choices
        self._books = self._new_books()
        self.chooser = Chooser(objective, self._gradient_of, options.seed)
        self._try(self._examples)
        self.state = self.sharing.begin(self.learner, self.state)

    def _try(self, examples: Sequence[Batch]) -> None:
        """Judge the first batches, of held-out data too, so that what cannot be judged is known now."""
        size = self.options.batch_size
        held_out = [tuple(entry[:size] for entry in part.valid) for part in self.parts if part.valid]
        tried = [*examples, *held_out]
        report = self._judged(tried, sum(len(batch[0]) for batch in tried))
        if self.options.patience is not None:
            check_patience(self.objective, self.data, report)

    @property
    def turns_per_epoch(self) -> int:
        """Turns in which about every training datum is shown once."""
        return max(1, self.batches.per_epoch // self.span.moves)

    @property
    def _num_data(self) -> int:
        return sum(len(part.train[0]) for part in self.parts)

    @property
    def total_turns(self) -> int:
        """Turns of the whole run."""
        return self.spans[-1].end

    @property
    def stage_turn(self) -> int:
        """Turns of the stage so far."""
        return self.turn - self.span.begin

    @property
    def leaves_stage(self) -> bool:
        """Whether the next turn is of another stage."""
        return self.turn == self.span.end < self.total_turns

    def rate(self, turn: int) -> float:
        """The learning rate at a turn of the stage.

        Raises:
            UsageError: the schedule gives none there.
        """
        begin, end = self.span.begin, self.span.end
        return self.span.stage.rate * self.options.rate(turn - begin, end - begin)

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return self.cursor / self.batches.per_epoch

    def take_turn(self) -> None:
        """One turn: every player moves as many steps as it has. On a GPU it may not have ended yet: :meth:`settle`.

        Raises:
            UsageError: a number was not finite; on a GPU, in some turn before.
        """
        if self.leaves_stage:
            self.settle()
            self.compiling += self.steps.compiling
            self._enter(self.stage_number + 1)
        if self.batches.on_disk and self.turn % _READ_AHEAD == 0:  # several at once, while the code is at hand
            for ahead in range(_READ_AHEAD, 2 * _READ_AHEAD):
                self._expect(self._planned(ahead))
        self.chooser.look(self.stage_turn)
        self._judged_by(self._books.take_turn)
        self.turn += 1
        self.cursor += self.span.moves
        if self.turn == self.span.end:
            self.settle()
            with torch.no_grad():
                self.span.stage.at_end(self.state)

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

    def means(self) -> dict[str, float]:
        """Means of what the steps reported since the last report."""
        self.settle()
        sums = self.sums
        return {name: total / sums[f"{name}/count"] for name, total in sums.items() if f"{name}/count" in sums}

    def report(self) -> dict[str, float]:
        """The :meth:`means`, which begin anew."""
        means = self.means()
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
        seed = self.sharing.seed(self.options.seed)
        return self._looks.judged(self.learner, self.stage_turn, self.state, batches, num_data, seed)

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
        stage = {"stage": self.stage_number, "began": self.span.begin}
        chosen = {"choices": dict(self.choices.taken), "chosen": self.chooser.chosen, "costs": self.chooser.seconds}
        return {"turn": self.turn, "cursor": self.cursor, "sums": self.sums, **chosen, **stage}

    def restore(self, tensors: Mapping[str, Tensor], facts: Progress) -> None:
        """Go on from what :meth:`tensors` and :meth:`facts` gave.

        Raises:
            UsageError: the tensors are those of another pair or objective, or facts and tensors do not go together.
        """
        if (stage := standing_in(self.spans, facts.stage, facts.began, facts.turn)) != self.stage_number:
            self._enter(stage)
        moves = self.span.shown(facts.turn)
        if facts.cursor != moves:
            raise UsageError(
                f"the checkpoint has shown {facts.cursor} batches after {facts.turn} turns, expected {moves}: it was "
                f"edited; restore it, or train again into another {option('out')}."
            )
        load_state(self.learner, under("learner.", tensors))
        for player in (player for player in self.players if player.name in self.optimizers):
            slots = under(f"optimizer.{player.name}.", tensors)
            self.options.optimizer.load(self.optimizers[player.name], slots, player, facts.turn - self.span.begin)
        self.state = checked_values(self.state, self.sharing.part(state_of(tensors)), self.device)
        self.turn, self.cursor = facts.turn, facts.cursor
        self.choices = self.steps.choices = Choices(facts.choices)
        self.chooser.chosen, self.chooser.seconds = facts.chosen, list(facts.costs)
        self._books = self._new_books()
        self.sums = facts.sums
        self.sharing.set_random(tensors, self.device, self.options.seed, self.turn)

    @property
    def device(self) -> torch.device:
        """Where training runs."""
        return self.batches.device

    def _new_books(self) -> Books:
        owned, others = self._arguments[self.players[0].name]
        like = next(iter({**owned, **others}.values()))  # x may be whole numbers
        return books_of(self._planned, self.play, like, self._captures, self._changed)

    def _captures(self, move: Move) -> bool:
        """Whether a move can be part of a CUDA graph: it is compiled, and the host neither brings its batch nor counts
        the optimizer's steps."""
        alone = self.ranks.size == 1  # the graph would hold the exchange
        counted = not self.options.optimizer.can_be_captured
        return alone and self.steps.compiles(move) and not self.batches.parts[move.part].on_disk and not counted

    def _changed(self) -> list[Tensor]:
        """What a turn changes, beside the books."""
        slots = (slot for o in self.optimizers.values() for kept in o.state.values() for slot in kept.values())
        return [*self._values.values(), *self.state.values(), *slots]

    def _planned(self, ahead: int) -> list[Move]:
        """The moves of the turn that is so many turns ahead."""
        turn, cursor = self.turn + ahead, self.cursor + ahead * self.span.moves
        fixed, moving = fixed_and_moving(self.objective.schedules(turn - self.span.begin))
        fixed |= self.chooser.fixed
        rate = self.rate(turn)
        moves = []
        in_order = [player for player in self.players for _ in range(player.steps)]
        for number, player in enumerate(in_order):
            part, rows = self.batches.at(cursor + number)
            share = len(rows) / self.batches.largest  # an epoch's steps weigh every datum alike
            own = self.ranks.shard(rows) if player.owns else rows  # what is assigned is made of all of them
            weight = len(own) / len(rows) if player.owns else 1 / self.ranks.size
            moves.append(Move(player, part, own, share, fixed, moving, player.rate * rate, weight))
        return moves

    def _expect(self, moves: Sequence[Move]) -> None:
        """Have the batches of these moves read while others are made."""
        for move in moves:
            self.batches.parts[move.part].expect(move.rows, 2 * _READ_AHEAD * len(moves))

    def play(self, move: Move, given: Given) -> None:
        """One step of one player, with these numbers; what comes of it is for the books."""
        books = self._books
        stepped = self._stepped(move, given, self.steps)
        gradients, report, state, written = self.sharing.mean(stepped, self.state, self._values, move.weight)
        clips = self.options.clip_norm is not None
        norm = gradient_norm(gradients, clips) if gradients else torch.zeros_like(report["loss"])
        prefix = f"{move.player.name}/" if len(self.players) > 1 else ""
        named = {f"{prefix}{name}": value for name, value in {**report, "gradient_norm": norm}.items()}
        books.judge(named, (f"{prefix}loss", f"{prefix}gradient_norm"), move.share)
        if gradients:
            self._move(move.player, gradients, norm, given.rate)
        self.state = {name: books.keep(self.state[name], value) for name, value in state.items()}
        for name, value in written.items():
            self._values[name].copy_(books.keep(self._values[name], value))

    def _gradient_of(self, chosen: int, ahead: int) -> dict[str, Tensor]:
        """The pair's gradient by one of several estimators at the batch of a turn that comes, by parameter."""
        (move,) = self._planned(ahead)
        move = replace(move, fixed={**move.fixed, "chosen": chosen})
        gradients, *_ = self._stepped(move, self._books.given(move), self.steps)
        named = zip(self._arguments[move.player.name][0], gradients, strict=True)
        return {name: gradient for name, gradient in named if name.startswith("pair.")}

    def _move(self, player: Player, gradients: Sequence[Tensor], norm: Tensor, rate: float | Tensor) -> None:
        """One step of a player's optimizer, if the move was good."""
        optimizer = self.optimizers[player.name]
        (group,) = optimizer.param_groups
        for parameter, gradient in zip(group["params"], gradients, strict=True):
            parameter.grad = laid_out_like(parameter, gradient)
        if self.options.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(group["params"], self.options.clip_norm, norm)
        group["lr"] = rate
        self._books.step(optimizer)
        if player.bound is not None:
            with torch.no_grad():
                torch._foreach_clamp_min_(group["params"], -player.bound)
                torch._foreach_clamp_max_(group["params"], player.bound)

    def _stepped(self, move: Move, given: Given, steps: Steps) -> StepResult:
        """What the player's step function gives of this rank's rows, gradients weighted by the batch's share."""
        owned, others = self._arguments[move.player.name]
        batch = self.batches.parts[move.part].take(given.rows)
        arguments = (owned, others, self.state, dict(given.moving), batch)
        gradients, report, state, buffers = steps.take(move, arguments, self._books.take_back)
        gradients = gradients if move.share == 1 else [gradient * move.share for gradient in gradients]
        return gradients, report, state, buffers

    def _judged_by(self, turns: Callable[[], None]) -> None:
        try:
            turns()
        except NotFiniteError as found:
            self._stop(self.cursor + found.place)

    def _stop(self, cursor: int) -> NoReturn:
        """Say what was not finite in this move, which is made again as it was: parameters, state and random numbers are
        those before it."""
        turns, within = divmod(cursor - self.span.cursor, self.span.moves)
        self.turn, self.cursor = self.span.begin + turns, cursor - within
        move = self._planned(0)[within]
        owned = self._arguments[move.player.name][0]
        watch, eager = Watch(), replace(self.options, eager=True)
        draws = [part.draw for part in self.parts]
        watched = WatchedLearner(self.learner, watch)
        again = Steps(watched, self.objective, draws, self._examples, self.chunks, eager)
        with torch.random.fork_rng():
            found, report, *_ = self._stepped(move, self._books.given(move), again)
        where = what_is_not_finite(watch, report["loss"], dict(zip(owned, found, strict=True)))
        where = self.sharing.whose(where, [report["loss"], gradient_norm(found, self.options.clip_norm is not None)])
        of_density = watch.first and not self.pair.implicit
        bounded = ", set clip_norm, or bound that site's scales" if of_density else ", or set clip_norm"
        raise DivergedError(
            f"training stopped at step {self.turn}: {where}; the last checkpoint is the one before: lower lr "
            f"(now {self.rate(self.turn):g}){bounded}."
        )
