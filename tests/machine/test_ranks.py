"""Ranks: alone nothing is exchanged; together all get the same; each has the device of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppgen.errors import UsageError
from ppgen.machine.devices import choose_device
from ppgen.machine.parting import _judged
from ppgen.machine.ranks import Ranks, joined
from tests.forked import by_ranks


def test_in_a_plain_process_everything_is_what_was_given() -> None:
    ranks, x = joined(), torch.arange(3.0)
    assert (ranks.rank, ranks.size, ranks.first, ranks.speaks) == (0, 1, True, True)
    assert ranks.shard(x) is x
    assert ranks.mean([x], 1.0)[0] is x
    assert ranks.joint(x, 3) is x
    assert ranks.each(x)[0] is x
    assert (ranks.gathered(["a"]), ranks.sums({"a": 0.1}), ranks.of_first(None)) == ([["a"]], {"a": 0.1}, None)
    assert [ranks.agree(asked) for asked in (False, True, False)] == [False, True, False]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_shards_are_the_whole_in_its_order_and_differ_by_at_most_one(size: int) -> None:
    for num in range(size, 30):
        parts = [Ranks(rank, size).shard(torch.arange(num)) for rank in range(size)]
        assert torch.cat(parts).tolist() == list(range(num))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_three_ranks_exchange_tensors_documents_and_votes(tmp_path: Path) -> None:
    def exchange(rank: int) -> int:
        ranks = joined()
        weights = [0.5, 0.25, 0.25]
        given = [torch.full((2, 2), rank + 1.0).T, torch.tensor(rank), torch.tensor(4.0 * rank, dtype=torch.float64)]
        loc, whole, scale = ranks.mean(given, weights[rank])
        assert (loc.tolist(), loc.dtype) == ([[1.75, 1.75], [1.75, 1.75]], torch.float32)
        assert (whole.item(), scale.item(), scale.dtype) == (0.75, 3.0, torch.float64)
        chains = torch.arange(14).reshape(2, 7) > 5
        assert torch.equal(ranks.joint(ranks.shard(chains, 1), 7, 1), chains)
        assert [state.item() for state in ranks.each(torch.tensor(rank))] == [0, 1, 2]
        assert ranks.gathered({"rank": rank, "word": "é" * rank}) == [{"rank": r, "word": "é" * r} for r in range(3)]
        assert ranks.sums({"all": 0.5, f"{rank}": 1.0}) == {"all": 1.5, "0": 1.0, "1": 1.0, "2": 1.0}
        tensors = {"x": torch.tensor([-0.0, torch.nan, 1.0]), "flag": torch.tensor(True), "none": torch.empty(0, 2)}
        found = ranks.of_first(tensors if ranks.first else None)
        assert found is not None
        assert all(torch.equal(found[n].view(torch.uint8), value.view(torch.uint8)) for n, value in tensors.items())
        assert ranks.of_first(None) is None
        votes = [ranks.agree(asked and rank == 2) for asked in (False, True, False, False)]
        assert votes == [False, False, True, False]  # it is told a turn later
        return 0

    ended = by_ranks(exchange, tmp_path, 3)
    assert [one.code for one in ended] == [0, 0, 0], ended[0].err


@pytest.mark.parametrize(
    ("notes", "sentence", "speaker"),
    [
        ({0: "so", 1: "so"}, "so", 0),
        ({0: "lost the others", 1: "so"}, "rank 1: so", 0),
        ({1: "lost the others"}, "rank 0 ended without a word", 1),
        ({0: "lost the others", 1: "lost the others"}, "the ranks lost the connection", 0),
    ],
)
def test_all_read_the_same_off_the_notes(notes: dict[int, str], sentence: str, speaker: int) -> None:
    found = _judged({rank: {"said": said} for rank, said in notes.items()}, 2)
    assert found.sentence.startswith(sentence)
    assert found.speaker == speaker


@pytest.fixture
def one_of_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local rank 1 on a machine where torch sees two GPUs."""
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("one_of_two_gpus")
def test_a_ranks_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("auto") == choose_device("cuda") == choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match=r"device 'cuda:0' is not that of local rank 1: say cuda, which is cuda:1"):
        choose_device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match=r"device 'cuda:2' was asked for; torch sees 2 here: the last is cuda:1"):
        choose_device("auto")


@pytest.mark.usefixtures("one_of_two_gpus")
def test_a_place_among_ranks_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(UsageError, match="WORLD_SIZE in the environment must be a whole number, got 'many'"):
        joined()
