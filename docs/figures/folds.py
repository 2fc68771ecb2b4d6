"""Part the LibriSpeech speakers of ../shared/data as docs/results.md does: to choose settings with, and three folds.

python docs/figures/folds.py runs/folds
"""

import random
import sys
from pathlib import Path

SOURCE = Path("../shared/data/speech/librispeech-clean-251").resolve()
CHOICE = 102


def link(folder: Path, speakers: list[str]) -> None:
    """Make a folder with a link to each speaker's."""
    folder.mkdir(parents=True)
    for name in speakers:
        (folder / name).symlink_to(SOURCE / name)


def main(out: Path) -> None:
    """Make the folders choice-test, choice-train, and test and train of every fold."""
    speakers = sorted(path.name for path in SOURCE.iterdir() if path.is_dir())
    random.Random(7).shuffle(speakers)
    link(out / "choice-test", speakers[:CHOICE])
    link(out / "choice-train", speakers[CHOICE:])
    for fold, (start, end) in enumerate(((102, 152), (152, 202), (202, 251))):
        link(out / f"test{fold}", speakers[start:end])
        link(out / f"train{fold}", speakers[:start] + speakers[end:])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
