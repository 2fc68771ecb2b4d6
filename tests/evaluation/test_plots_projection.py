import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from voxanchor.evaluation.plots import project


def test_neighbours_stay_together() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    rows = generator.standard_normal((5, 32))[labels] + 0.2 * generator.standard_normal((60, 32))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    points = project(rows, seed=1)
    assert points.shape == (60, 2)
    neighbours = NearestNeighbors(n_neighbors=4).fit(points).kneighbors(return_distance=False)
    assert (labels[neighbours] == labels[:, None]).mean() > 0.95
    np.testing.assert_array_equal(points, project(rows, seed=1))


def test_a_few_embeddings_are_enough_and_fewer_are_refused() -> None:
    assert project(np.eye(4, 8)).shape == (4, 2)
    with pytest.raises(ValueError, match="at least four"):
        project(np.eye(3))
