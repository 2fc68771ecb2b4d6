"""Whether a network is being written down for another program instead of run."""

from collections.abc import Callable

import torch

# older versions of torch know only that something is tracing
is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
"""Return whether `torch.export` is at work: shapes are then symbols, and no choice may depend on them."""
