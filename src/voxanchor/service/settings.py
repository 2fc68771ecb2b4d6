"""What an operator of the service decides."""

import math
from dataclasses import dataclass, field

from voxanchor.errors import RecipeError
from voxanchor.models.batches import BATCH_S
from voxanchor.scoring.judge import PRIOR
from voxanchor.service.keys import Keys


@dataclass(frozen=True)
class Settings:
    """Limits, keys and what decisions are made for.

    Attributes:
        keys: who may ask; without any, everybody who reaches the port.
        local_only: answer only requests that name this machine as ``localhost`` or a loopback address, so that a page
            of another site, open in a browser here, cannot reach the service under a name of its own.
        max_upload_bytes: largest body of a request.
        max_duration_s: longest recording.
        max_decoded_bytes: largest recording after decoding, all channels, as 32-bit samples: a small compressed file
            may hold more than fits into memory.
        max_recordings: most recordings of one enrolment.
        timeout_s: how long a request may take, its upload included.
        max_requests: so many with a recording are in hand at once, waiting ones included; more are refused.
        workers: threads that decode recordings and wait for the model.
        model_threads: threads that run the model; it may use several cores in each of them.
        batch_s: padded seconds of audio that are embedded at once; 0 embeds each recording alone.
        prior: probability of one voice before anything was heard, where a request gives none.
        false_acceptance: in percent, in place of the prior.
        labels: what the served model and the one beside it are called on the page.
        keep_audio: keep enrolled recordings, so that another model can embed them anew.

    Raises:
        RecipeError: a limit that is not above 0, or a prior that is none.
    """

    keys: Keys = field(default_factory=Keys)
    local_only: bool = False
    max_upload_bytes: int = 25 * 2**20
    max_duration_s: float = 120.0
    max_decoded_bytes: int = 256 * 2**20
    max_recordings: int = 10
    timeout_s: float = 30.0
    max_requests: int = 64
    workers: int = 16
    model_threads: int = 1
    batch_s: float = BATCH_S
    prior: float = PRIOR
    false_acceptance: float | None = None
    labels: tuple[str, str] = ("served model", "model beside it")
    keep_audio: bool = False

    def __post_init__(self) -> None:
        for name in ("max_upload_bytes", "max_duration_s", "max_decoded_bytes", "max_recordings", "timeout_s"):
            self._refuse_unless(name, getattr(self, name) > 0)
        for name in ("max_requests", "workers", "model_threads"):
            self._refuse_unless(name, getattr(self, name) >= 1)
        self._refuse_unless("batch_s", self.batch_s >= 0)
        self._refuse_unless("prior", 0 < self.prior < 1)

    def _refuse_unless(self, name: str, possible: bool) -> None:
        if not possible or not math.isfinite(getattr(self, name)):
            raise RecipeError(f"serve: {name.replace('_', '-')} cannot be {getattr(self, name)}")
