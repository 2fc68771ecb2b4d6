"""Whose voice it is, of all who are enrolled: an open set, in which nobody is an answer."""

from voxanchor.errors import RecipeError
from voxanchor.scoring.judge import UNCALIBRATED, Judge, Voices, posteriors
from voxanchor.verification.people import People, together
from voxanchor.verification.result import Candidate, Identification, Side

LOOKED_AT = 100
"""Candidates that are judged, at least: the nearest cosine need not have the highest likelihood ratio."""


def identification(
    people: People,
    judge: Judge,
    voice: Voices | None,
    side: Side,
    reason: str,
    top: int,
    prior: float,
    certainty: float,
) -> Identification:
    """Return the answer; see `Verifier.identify`.

    Args:
        people: who is enrolled.
        judge: what decides.
        voice: what was heard; None where it cannot be compared.
        side: its quality.
        reason: why it cannot be compared.
        top: candidates to return.
        prior: that it is one of those enrolled.
        certainty: from which on the likeliest is the answer.

    Raises:
        RecipeError: numbers that cannot be.
        EnrolmentError: nobody is enrolled with a model that fits.
    """
    if top < 1 or not 0 < prior < 1 or not 0 <= certainty < 1:
        raise RecipeError("identify: top is at least 1, prior lies between 0 and 1, and certainty is below 1")
    if voice is None:
        return Identification("abstained", None, (), None, side, reason)
    near = people.nearest(voice.embeddings, max(top, LOOKED_AT))
    if not near:
        return Identification("rejected", None, (), 1.0 if judge.record else None, side, "nobody is enrolled")
    scores, llrs = judge.compare(voice, together(near))
    if llrs is None:
        ranked = sorted(zip(near, scores.tolist(), strict=True), key=lambda item: (-item[1], item[0].name))
        found = tuple(Candidate(item.name, score, None, None, item.warning) for item, score in ranked[:top])
        return Identification("uncalibrated", None, found, None, side, UNCALIBRATED)
    order = sorted(range(len(near)), key=lambda place: (-llrs[place], near[place].name))
    probabilities, nobody = posteriors([float(llrs[place]) for place in order], max(people.count(), len(near)), prior)
    candidates = tuple(
        Candidate(near[place].name, float(scores[place]), float(llrs[place]), probability, near[place].warning)
        for place, probability in zip(order, probabilities, strict=True)
    )[:top]
    best = candidates[0]
    if best.probability is not None and best.probability > certainty:
        return Identification("accepted", best.person, candidates, nobody, side)
    return Identification("rejected", None, candidates, nobody, side)
