"""The parts of SpeechBrain that are compared, imported beside a torch that has no torchaudio.

Importing them needs a module `torchaudio`, of which none of them calls anything: its version is looked at. torchaudio
2.11, the newest, does not load beside torch 2.13, so an empty module of that name stands in.
"""

import logging
import sys
import types


def _stand_in() -> None:
    if "torchaudio" in sys.modules:
        return
    module = types.ModuleType("torchaudio")
    module.__version__ = "2.11.0"
    # SpeechBrain asks importlib whether optional packages exist, which wants a spec
    module.__spec__ = types.SimpleNamespace(name="torchaudio", origin=None, submodule_search_locations=None)  # type: ignore[assignment]
    sys.modules["torchaudio"] = module


_stand_in()
logging.getLogger("speechbrain").setLevel(logging.ERROR)

from speechbrain.augment.time_domain import AddNoise  # noqa: E402
from speechbrain.dataio.dataio import read_audio  # noqa: E402
from speechbrain.lobes.features import Fbank  # noqa: E402
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier  # noqa: E402
from speechbrain.nnet.losses import AdditiveAngularMargin, LogSoftmaxWrapper  # noqa: E402
from speechbrain.processing.features import InputNormalization  # noqa: E402
from speechbrain.utils.metric_stats import EER, minDCF  # noqa: E402

__all__ = [
    "ECAPA_TDNN",
    "EER",
    "AddNoise",
    "AdditiveAngularMargin",
    "Classifier",
    "Fbank",
    "InputNormalization",
    "LogSoftmaxWrapper",
    "minDCF",
    "read_audio",
]
