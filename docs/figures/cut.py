"""Cut every recording of a corpus into pieces of at least 3 s, each a recording of its own: python cut.py FROM TO."""

import sys
from pathlib import Path

import soundfile

PIECE_S = 3.0

source, target = map(Path, sys.argv[1:])
made = 0
for path in sorted(source.rglob("*.flac")):
    samples, rate = soundfile.read(path)
    pieces = max(1, int(len(samples) / rate / PIECE_S))
    length = len(samples) // pieces
    folder = target / path.parent.name
    folder.mkdir(parents=True, exist_ok=True)
    for piece in range(pieces):
        soundfile.write(folder / f"{path.stem}-{piece}.flac", samples[piece * length : (piece + 1) * length], rate)
    made += pieces
print(f"{made} pieces in {target}")
