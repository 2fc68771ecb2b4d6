from typing import Any

import pytest
import torch

from voxanchor.errors import ModelError
from voxanchor.models.ecapa import Ecapa, EcapaConfig, Res2Conv, SqueezeExcitation


@pytest.mark.parametrize(("channels", "millions"), [(512, 6.2), (1024, 14.7)])
def test_size_is_that_of_the_paper(channels: int, millions: float) -> None:
    mfa_channels = 1536  # the paper keeps 1536 at both widths
    with torch.device("meta"):
        network = Ecapa.__new__(Ecapa)
    network = Ecapa(EcapaConfig(channels=channels, mfa_channels=mfa_channels))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.02)
