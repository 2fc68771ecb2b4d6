"""How much of its clean accuracy a model may lose while it learns noise, and which of its states is the best."""

from collections.abc import Mapping
from dataclasses import dataclass

from voxanchor.errors import RecipeError
from voxanchor.scoring.metrics import NEAR_CHANCE


@dataclass(frozen=True)
class ForgettingGuard:
    """The watch over forgetting; it looks each time that a stage validates.

    With speaker labels the clean EER of the validation speakers is watched. Without, it is how much of their identity
    clean embeddings keep: (a - c) / (1 - c), where a is their mean cosine to those of the model at the start and c the
    mean cosine of different recordings there; 1 where nothing moved, 0 where all became alike.

    Attributes:
        watch: whether there is a watch at all.
        clean_eer_rise: what clean EER may rise by, in percentage points, and
        clean_eer_rise_share: as a share of what it was, on top of that.
        identity_kept: least share of identity, without labels.
        stop_at: multiple of the allowed loss at which training stops at once; up to there it may come back.
        retries: how often training that stopped, or ended with no state within the allowed loss, begins anew.
        retry_rate: factor on the learning rate each time.
        patience: the last state within the allowed loss is kept, unless the best one was better by more than so many
            points: of EER in percent, mean of clean and noisy; without labels of 100 times the cosine.
    """

    watch: bool = False
    clean_eer_rise: float = 1.0
    clean_eer_rise_share: float = 0.25
    identity_kept: float = 0.6
    stop_at: float = 2.0
    retries: int = 2
    retry_rate: float = 0.1
    patience: float = 1.0

    def __post_init__(self) -> None:
        if min(self.clean_eer_rise, self.clean_eer_rise_share, self.patience, self.retries) < 0:
            raise RecipeError("guard: rises, patience and retries must not be negative")
        if not self.clean_eer_rise and not self.clean_eer_rise_share:
            raise RecipeError("guard: an allowance of nothing would refuse chance itself; give a rise above 0")
        if not (0 <= self.identity_kept < 1 and self.stop_at >= 1 and 0 < self.retry_rate < 1):
            raise RecipeError("guard: need identity_kept from 0 to below 1, stop_at >= 1 and 0 < retry_rate < 1")

    def spent(self, now: Mapping[str, float], before: Mapping[str, float]) -> float:
        """Return the loss of clean quality as a share of what is allowed: above 1 the state may not be kept.

        Args:
            now: what `Validation.measure` gives of a state.
            before: of the model that training starts from.
        """
        if "clean_eer" in now:
            allowed = self.clean_eer_rise + self.clean_eer_rise_share * before["clean_eer"]
            return (now["clean_eer"] - before["clean_eer"]) / allowed
        return (1.0 - now["clean_identity"]) / (1.0 - self.identity_kept)

    def cost(self, values: Mapping[str, float]) -> float:
        """Return what the best state has least of: errors, or disagreement with the start, clean and noisy alike."""
        if "clean_eer" in values:
            return (values["clean_eer"] + values["noisy_eer"]) / 2
        return 100.0 - 50.0 * (values["clean_agreement"] + values["noisy_agreement"])


def near_chance(before: Mapping[str, float]) -> str:
    """Return a warning where the model at the start hardly tells speakers apart; nothing as a rule, or without labels.

    Args:
        before: what `Validation.measure` gives of that model.
    """
    found = before.get("clean_eer", 0.0)
    if found < NEAR_CHANCE:
        return ""
    return (
        f"the base hardly tells speakers apart: its EER on clean speech is {found:.1f} %, and 50 % is guessing. "
        "Nothing made from it can be relied on; see whether its weights were loaded, and whether each folder of the "
        "recordings is one speaker"
    )


def gain(now: Mapping[str, float], before: Mapping[str, float]) -> float:
    """Return how much better a state is in noise: less EER, or without labels more agreement, in points."""
    if "noisy_eer" in now:
        return before["noisy_eer"] - now["noisy_eer"]
    return 100.0 * (now["noisy_agreement"] - before["noisy_agreement"])
