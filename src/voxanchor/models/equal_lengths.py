"""Recordings of different lengths through a network that knows no lengths: those of one length at a time."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_equal_lengths(network: Callable[[Tensor], Tensor], waves: Tensor, lengths: Tensor) -> Tensor:
    """Return (B, D), what `network` makes of each recording without its padding.

    Args:
        network: waveforms (b, T) of one length to embeddings (b, D).
        waves: (B, T).
        lengths: (B,) int64 samples of each recording.
    """
    rows, made = [], []
    for length in sorted(set(lengths.tolist())):
        places = torch.nonzero(lengths == length).flatten()
        rows.append(places)
        made.append(network(waves[places, :length]))
    return torch.cat(made)[torch.argsort(torch.cat(rows))]
