"""Deal the speakers of a folder by chance into three: to train with, to calibrate with, and to try it on.

python docs/figures/deal.py shared/data/speech/librispeech-clean-251 deal 1
"""

import random
import sys
from pathlib import Path

PARTS = {"train": 121, "cal": 65, "test": 65}


def main(speech: Path, out: Path, seed: int) -> None:
    """Write the folders ``train``, ``cal`` and ``test`` in `out`, of links to the speakers' folders."""
    speakers = sorted((entry.name for entry in speech.iterdir()), key=int)
    random.Random(seed).shuffle(speakers)
    start = 0
    for part, count in PARTS.items():
        (out / part).mkdir(parents=True)
        for name in speakers[start : start + count]:
            (out / part / name).symlink_to((speech / name).resolve())
        start += count


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
