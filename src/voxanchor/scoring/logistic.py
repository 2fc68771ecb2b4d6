"""Logistic regression with weights: log odds as a linear function of features."""

import numpy as np

from voxanchor.types import BoolArray, FloatArray

RIDGE = 1e-5
"""Weight of the squared coefficients: what keeps them finite where the classes can be told apart without error."""

_STEPS = 100
_CONVERGED = 1e-10


def fit_logistic(features: FloatArray, targets: BoolArray, weights: FloatArray, offset: float = 0.0) -> FloatArray:
    """Return (F + 1,) coefficients, the constant first, that minimise the weighted logistic loss.

    By Newton's method on standardised features, each step halved until the loss falls, so that it ends at the one
    minimum there is. The ridge acts on standardised features and not on the constant.

    Args:
        features: (K, F) float64.
        targets: (K,) true for the class whose log odds are wanted.
        weights: (K,) at least 0, of any sum.
        offset: added to the log odds of every trial while fitting, and not part of the result: the log odds of the
            prior, so that the result is a log-likelihood ratio (Brümmer and du Preez 2006).

    Raises:
        ValueError: shapes that do not fit, a class without weight, or features that are not finite.
    """
    if features.ndim != 2 or targets.shape != features.shape[:1] or weights.shape != targets.shape:
        raise ValueError(f"Expected (K, F), (K,) and (K,), got {features.shape}, {targets.shape} and {weights.shape}.")
    if not np.isfinite(features).all():
        raise ValueError("Features must be finite.")
    if not (weights[targets].sum() > 0 and weights[~targets].sum() > 0):
        raise ValueError("Both classes need trials with weight.")
    share = weights / weights.sum()
    mean = share @ features
    scale = np.sqrt(share @ np.square(features - mean))
    # a feature that never changes, but for the rounding of its mean, says nothing, and its coefficient stays 0
    scale[scale < 1e-12 * np.maximum(1.0, np.abs(mean))] = 1.0
    design = np.column_stack((np.ones(len(features)), (features - mean) / scale))
    penalty = np.concatenate(([0.0], np.full(features.shape[1], RIDGE)))
    sign = np.where(targets, 1.0, -1.0)

    def loss(coefficients: FloatArray) -> float:
        odds = design @ coefficients + offset
        return float(share @ np.logaddexp(0.0, -sign * odds) + 0.5 * penalty @ np.square(coefficients))

    found = np.zeros(design.shape[1])
    current = loss(found)
    for _ in range(_STEPS):
        odds = design @ found + offset
        chance = np.exp(-np.logaddexp(0.0, -odds))
        slope = design.T @ (share * (chance - targets)) + penalty * found
        curvature = (design * (share * chance * (1.0 - chance))[:, None]).T @ design + np.diag(penalty + 1e-12)
        step = np.linalg.solve(curvature, slope)
        size = 1.0
        while (tried := loss(found - size * step)) > current and size > 1e-6:
            size /= 2
        if tried >= current - _CONVERGED:
            break
        found, current = found - size * step, tried
    coefficients = found[1:] / scale
    result: FloatArray = np.concatenate(([found[0] - coefficients @ mean], coefficients))
    return result
