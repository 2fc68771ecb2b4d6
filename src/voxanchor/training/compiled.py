"""Networks compiled by torch, where it can, and as they are where it cannot."""

from contextlib import AbstractContextManager

import torch
from torch import nn

from voxanchor.models.precision import best_device
from voxanchor.progress import say


def compile_network(network: nn.Module) -> bool:
    """Let torch compile a network when it is first called, and say whether it will; names and weights stay.

    Compiling takes minutes and needs a compiler on the machine (C++ for a processor, Triton for a GPU): a small
    function is tried first, on the device that will train, and where that fails the network stays as it is, with a line
    that says why.
    """
    try:
        torch.compile(torch.sin)(torch.ones(8, device=best_device()))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        say(f"torch cannot compile here ({type(error).__name__}: {reason}); training goes on without")
        return False
    network.compile(dynamic=False)
    say("the network is compiled in the first step, which takes minutes")
    return True


def uncompiled() -> AbstractContextManager[None]:
    """Take compiled networks as they were, inside: lengths they have not seen compile nothing."""
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance
