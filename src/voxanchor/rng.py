"""The only source of randomness: a generator named by what it is for.

A draw depends on (seed, epoch, index, purpose) and on nothing else, so the same crop meets the same noise whatever the
number of workers, ranks or restarts, and two purposes never share a stream.
"""

import hashlib

import numpy as np


def _words(value: int | str) -> list[int]:
    text = f"{type(value).__name__}:{value}".encode("utf-8", "backslashreplace")
    digest = hashlib.sha256(text).digest()
    return [int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8, 12)]


def generator(seed: int, epoch: int, index: int | str, purpose: str) -> np.random.Generator:
    """Return the generator that belongs to one draw.

    Args:
        seed: the run's seed.
        epoch: pass over the data (0 in evaluation).
        index: position in the epoch, or a stable name such as an utterance id.
        purpose: what the draw decides, e.g. ``"crop"`` or ``"noise/babble_5db"``.
    """
    entropy = [word for value in (int(seed), int(epoch), index, purpose) for word in _words(value)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def torch_seed(seed: int, step: int, purpose: str) -> int:
    """Return a 63-bit seed for torch's own generator (weight initialisation, dropout)."""
    return int(generator(seed, 0, step, f"torch/{purpose}").integers(0, 2**63 - 1))
