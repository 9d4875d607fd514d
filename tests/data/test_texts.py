"""Texts of one's own: what is counted, by whose vocabulary, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppgen
from ppgen.data import SparseRows
from ppgen.data.texts import texts
from ppgen.errors import UsageError

ROSES = ["a rose is a rose", "roses are red", "a red rose", "violets are blue"]
WHOLE: dict[str, Any] = {"valid": 0.0, "test": 0.0}


def folder_of(path: Path, files: dict[str, str | bytes]) -> str:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_words_are_counted_as_scikit_learn_counts_them() -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(min_df=2, max_df=0.7, stop_words="english")
    expected = counter.fit_transform(ROSES[:3])
    data = texts(file=ROSES[:3], min_df=2, max_df=0.7, stop_words="english", **WHOLE)
    assert data.spec.vocabulary == tuple(counter.get_feature_names_out())
    assert isinstance(data.train[0], SparseRows)
    torch.testing.assert_close(data.train[0][:], torch.as_tensor(expected.toarray(), dtype=torch.float32))


def test_the_vocabulary_is_the_training_texts_alone() -> None:
    data = texts(file={"train": ROSES[:2], "test": ["red tulips are red"]}, valid=0.0)
    assert data.spec.vocabulary == ("are", "is", "red", "rose", "roses")
    assert data.test[0][0].tolist() == [1, 0, 2, 0, 0]


def test_what_is_held_out_gives_the_vocabulary_no_word() -> None:
    """Each of ten texts has a word of its own beside one of all."""
    data = texts(file=[f"all word{i}" for i in range(10)], valid=0.2, test=0.1)
    assert data.spec.num_data == 7
    assert len(data.spec.vocabulary or ()) == 8
    assert data.valid[0][:].sum(1).tolist() == [1, 1]


def test_a_folder_is_read_by_its_path_with_classes_and_splits(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "train/flowers/b.txt": "a red rose",
        "train/flowers/a.txt": "\ufeffroses are red",
        "train/birds/a.txt": "a red robin",
        "test/birds/x.txt": "robin robin",
    }
    data = ppgen.load_data(folder_of(tmp_path, files), labels=True, valid=0.0)
    assert data.config["name"] == "texts"
    assert data.spec.vocabulary == ("are", "red", "robin", "rose", "roses")
    assert [data.train[1].tolist(), data.test[1].tolist()] == [[0, 1, 1], [0]]
    assert data.train[0][1].tolist() == [1, 1, 0, 0, 1]
    assert data.test[0][0].tolist() == [0, 0, 2, 0, 0]


def test_a_run_keeps_the_vocabulary_by_which_other_texts_are_counted(tmp_path: Path) -> None:
    data = texts(file=ROSES, **WHOLE)
    ppgen.fit(ppgen.models.Unigram(data.spec), data, "em", steps=1, batch_size=4, out=tmp_path / "run", progress=False)
    kept = str(tmp_path / "run" / "vocabulary.txt")
    others = texts(file=["tulips are red"], vocabulary=kept, **WHOLE)
    assert others.spec.vocabulary == data.spec.vocabulary
    assert int(others.train[0][:].sum()) == 2


def test_texts_without_a_word_are_left_out_where_asked() -> None:
    data = texts(file=[*ROSES, "!"], drop_empty=True, **WHOLE)
    assert data.spec.num_data == 4


@pytest.mark.parametrize(
    ("files", "options", "sentence"),
    [
        ({"a.txt": "a rose", "b.txt": "?!"}, {}, r"b\.txt has no word of the vocabulary: take it away, lower min_df"),
        ({"a.txt": "rose\nros\xe9".encode("latin-1")}, {}, r"a\.txt must be a text in UTF-8, and line 2 is in another"),
        ({"a.md": "a rose"}, {}, r"holds no texts \(\.txt\), nor a folder of them for each class"),
        ({"a.txt": "rose", "b.txt": "lily"}, {"min_df": 2}, "cannot be counted .*no terms remain.*: change min_df"),
        ({"a.txt": "rose"}, {"pattern": "("}, "cannot be counted .*: change min_df, max_df, stop_words, pattern"),
        ({"a.txt": "rose"}, {"min_df": -1}, "cannot be counted .*min_df.*: change min_df"),
        ({"a.txt": "rose"}, {"stop_words": "french"}, "stop_words must be 'none' or 'english', got 'french'"),
        ({"a.txt": "rose"}, {"labels": True}, "has no classes: put the texts of each class into a folder of its own"),
        ({"a.txt": "rose"}, {"vocabulary": "nowhere.txt"}, "nowhere.txt must be a text file of words"),
        ({"a.txt": "rose"}, {"valid": 0.5}, "cannot split valid of 1 rows off the 1 rows of train"),
    ],
)
def test_folders_that_cannot_be_counted_are_refused(
    tmp_path: Path, files: dict[str, str | bytes], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        texts(file=folder_of(tmp_path, files), **(WHOLE | options))


@pytest.mark.parametrize(
    ("given", "options", "sentence"),
    [
        ("", {}, "data set 'texts' needs a folder of .txt files, got ''"),
        ([], {}, "train must be a list of strings, a text each, got none"),
        (["a rose", 3], {}, "file must be text, a list of texts, or a mapping of names to values"),
        ({"tests": ["a rose"]}, {}, "texts by split are called train, valid, test, train at least, got tests"),
        (ROSES, {"labels": True}, "labels of texts are the names of folders"),
    ],
)
def test_lists_that_are_no_texts_are_refused(given: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        texts(file=given, **(WHOLE | options))


def test_an_array_of_strings_says_how_to_count_them() -> None:
    with pytest.raises(UsageError, match=r"count the words of texts with ppgen\.load_data"):
        ppgen.dataset_from(np.array(ROSES))


def test_a_list_of_strings_is_a_data_set_of_ones_own() -> None:
    """The same counts as the data set ``texts``, in whichever way the splits are given."""
    words = [*ROSES, "violets are red", "a blue rose"]
    for splits, options in (
        (words, {"valid": 0.0, "test": 0.5}),
        ({"train": ROSES, "test": words}, {"valid": 0.25}),
    ):
        found = ppgen.data.dataset_from(splits, **options, seed=3)  # type: ignore[arg-type]  # shares
        expected = ppgen.load_data("texts", file=splits, **options, seed=3)
        assert found.spec.vocabulary == expected.spec.vocabulary
        assert found.spec.observation == "counts"
        assert isinstance(found.train[0], SparseRows)
        for split in ("train", "valid", "test"):
            one, other = getattr(found, split), getattr(expected, split)
            assert len(one) == len(other)
            assert all(torch.equal(x[:], y[:]) for x, y in zip(one, other, strict=True))
    assert ppgen.data.dataset_from(ROSES, **WHOLE, name="roses").spec.name == "roses"


@pytest.mark.parametrize("options", [{"observation": "real"}, {"standardise": True}, {"vocabulary": ["rose"]}])
def test_options_of_tables_are_not_for_strings(options: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=f"a list of strings, texts whose words are counted, and {next(iter(options))}"
    ):
        ppgen.data.dataset_from(ROSES, **WHOLE, **options)
