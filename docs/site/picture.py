"""A picture of the top of a page, as Chromium shows it: ``python docs/site/picture.py PAGE.html PICTURE.png``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

_SIZE = (1400, 1000)
_COLOURS = 96


def take(page: Path, picture: Path) -> None:
    """Write the picture, in few colours."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [
                "chromium",
                *quiet,
                f"--user-data-dir={folder}",
                f"--window-size={_SIZE[0]},{_SIZE[1]}",
                f"--screenshot={shot}",
                page.resolve().as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        with Image.open(shot) as seen:
            seen.convert("RGB").quantize(_COLOURS).save(picture, optimize=True)


if __name__ == "__main__":
    take(*map(Path, sys.argv[1:]))
