"""Pictures of one's own in a folder for each class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ppgen.data import load_data
from ppgen.errors import UsageError

SIZE = (4, 6)
"""Height and width."""


def picture(path: Path, value: Any, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.broadcast_to(np.uint8(value), (*size, *np.shape(value))).copy()).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures of two classes each; the shade of the i-th of class c is 100 c + i."""
    for c, name in enumerate(["cat", "dog"]):
        for i in range(5):
            picture(tmp_path / "pets" / name / f"{i}.png", 100 * c + i)
    return tmp_path / "pets"


def test_folders_are_classes_in_the_order_of_their_names(folder: Path) -> None:
    data = load_data(str(folder), labels=True, valid=0.0, test=0.0)
    x, y = data.train
    assert (data.spec.image_shape, data.spec.observation, data.spec.levels) == (SIZE, "quantised", 256)
    assert (data.spec.num_classes, y.tolist()) == (2, [0] * 5 + [1] * 5)
    assert torch.allclose(x[7] * 255, torch.full((24,), 102.0))
    assert data.kinds == {"pictures": "6 x 4 pixels, grey, quantised", "class": "categorical (cat, dog)"}
    assert data.config["name"] == "images"


def test_without_labels_batches_are_x_and_shares_are_held_out(folder: Path) -> None:
    data = load_data(str(folder), test=0.2)
    assert (len(data.train), len(data.train[0]), len(data.valid[0]), len(data.test[0])) == (1, 7, 1, 2)


def test_folders_of_splits_are_splits(folder: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            picture(folder.parent / "split" / split / name / "a.png", 9)
            picture(folder.parent / "split" / split / name / "b.png", 9)
    data = load_data(str(folder.parent / "split"), labels=True, valid=0.0)
    assert (len(data.train[0]), data.valid, len(data.test[0])) == (4, (), 4)
    picture(folder.parent / "split" / "test" / "cow" / "a.png", 9)
    with pytest.raises(UsageError, match=r"a\.png is of class 'cow', which the training pictures lack \(cat, dog\)"):
        load_data(str(folder.parent / "split"), labels=True)


def test_black_and_white_is_binary_and_colour_stays_unless_grey(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "bits" / f"{i}.png", 255 * (i % 2))
        picture(tmp_path / "colours" / f"{i}.jpg", [250, 10 * i, 5])
    assert load_data(str(tmp_path / "bits")).spec.observation == "binary"
    colours = load_data(str(tmp_path / "colours"))
    assert (colours.spec.image_shape, colours.spec.num_features) == ((3, *SIZE), 72)
    assert load_data(str(tmp_path / "colours"), grey=True).spec.image_shape == SIZE
    assert load_data(str(tmp_path / "colours"), binarize="dynamic").dynamic


def test_other_sizes_are_refused_by_name_or_scaled(folder: Path) -> None:
    picture(folder / "dog" / "9.png", 3, size=(5, 5))
    with pytest.raises(UsageError, match=r"0\.png is 6 x 4 pixels where .*dog/9\.png is 5 x 5: scale them all, size=4"):
        load_data(str(folder))
    assert load_data(str(folder), size=3).spec.image_shape == (3, 3)
    assert load_data(str(folder), size=[3, 5]).spec.image_shape == (3, 5)


def test_what_is_wrong_with_a_folder_is_one_sentence(folder: Path) -> None:
    (folder / "dog" / "1.png").write_bytes((folder / "dog" / "1.png").read_bytes()[:40])
    with pytest.raises(UsageError, match=r"dog/1\.png must be a picture, but it cannot be read \(.*it is damaged"):
        load_data(str(folder))
    picture(folder / "alone.png", 3)
    with pytest.raises(UsageError, match=r"holds alone\.png beside folders of classes"):
        load_data(str(folder))
    picture(folder.parent / "flat" / "a.png", 3)
    with pytest.raises(UsageError, match="flat has no classes: put the pictures of each class into a folder"):
        load_data(str(folder.parent / "flat"), labels=True)
    with pytest.raises(UsageError, match="data set 'images' needs a folder of pictures, got 'nowhere'"):
        load_data("images", file="nowhere")
