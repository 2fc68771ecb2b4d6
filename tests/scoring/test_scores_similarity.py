"""How alike embeddings of different recordings are, beside all pairs written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxanchor.scoring.scores import mean_cosine_apart


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12), st.integers(0, 1000))
def test_the_mean_is_over_pairs_of_different_groups(groups: list[str], seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((len(groups), 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [
        float(rows[i].astype(np.float64) @ rows[j].astype(np.float64))
        for i in range(len(groups))
        for j in range(i)
        if groups[i] != groups[j]
    ]
    assert mean_cosine_apart(rows, groups) == pytest.approx(np.mean(pairs) if pairs else 0.0, abs=1e-9)
