"""Whose voice it is, of all who are enrolled: an open set, in which nobody is an answer.

One rule lets in, here and where a claim is verified: the log-likelihood ratio of the pair reaches the threshold. Among
several people it has to be the likeliest of them, too, and more probable than all others and nobody together, so that
nobody is ever found whom `Verifier.verify_as` rejects.
"""

from dataclasses import dataclass, replace

from voxanchor.errors import RecipeError
from voxanchor.scoring.judge import PRIOR, UNCALIBRATED, Judge, Voices, posteriors
from voxanchor.verification.people import Neighbour, People, together
from voxanchor.verification.result import Candidate, Identification, Side
from voxanchor.verification.voices import replayed

LOOKED_AT = 100
"""Candidates that are judged, at least: the nearest cosine need not have the highest likelihood ratio."""

CERTAINTY = 0.5
"""How probable the likeliest has to be, where nothing else is asked for: more than all others and nobody together."""


@dataclass(frozen=True)
class Rule:
    """What an identification goes by.

    Attributes:
        top: candidates to return.
        prior: probability of one voice before anything was heard, as where a claim is verified.
        false_acceptance: strangers who are taken for somebody on the list, in percent, at most; in place of the prior.
        certainty: the likeliest is the answer when more probable than this.

    Raises:
        RecipeError: numbers that cannot be.
    """

    top: int = 5
    prior: float = PRIOR
    false_acceptance: float | None = None
    certainty: float = CERTAINTY

    def __post_init__(self) -> None:
        if self.top < 1 or not 0 < self.prior < 1 or not 0 <= self.certainty < 1:
            raise RecipeError("identify: top is at least 1, prior lies between 0 and 1, and certainty is below 1")


def identification(
    people: People, judge: Judge, rule: Rule, voice: Voices | None, side: Side, reason: str
) -> Identification:
    """Return the answer; see `Verifier.identify`.

    Args:
        people: who is enrolled.
        judge: what decides.
        rule: what to go by.
        voice: what was heard; None where it cannot be compared.
        side: its quality.
        reason: why it cannot be compared.

    Raises:
        RecipeError: a rate of false acceptance that cannot be, or that the calibration does not support.
        EnrolmentError: nobody is enrolled with a model that fits.
    """
    count = people.count()
    threshold = judge.search_threshold(rule.prior, rule.false_acceptance, count)
    prior = rule.prior if rule.false_acceptance is None else None
    rate = judge.search_rate(threshold, count)
    blank = Identification("abstained", None, (), None, side, threshold, prior, count, rate, reason)
    if voice is None:
        return blank
    near = people.nearest(voice.embeddings, max(rule.top, LOOKED_AT))
    if not near:
        nobody = 1.0 if judge.record else None
        return replace(blank, decision="rejected", nobody=nobody, reason="nobody is enrolled")
    scores, llrs = judge.compare(voice, together(near))
    if llrs is None or threshold is None:
        ranked = sorted(zip(near, scores.tolist(), strict=True), key=lambda item: (-item[1], item[0].name))
        found = tuple(
            Candidate(item.name, score, None, None, _warnings(item, voice)) for item, score in ranked[: rule.top]
        )
        return replace(blank, decision="uncalibrated", candidates=found, reason=UNCALIBRATED)
    order = sorted(range(len(near)), key=lambda place: (-llrs[place], near[place].name))
    ratios = [float(llrs[place]) for place in order]
    probabilities, nobody = posteriors(ratios, max(count, len(near)), threshold)
    candidates = tuple(
        Candidate(near[place].name, float(scores[place]), ratio, probability, _warnings(near[place], voice))
        for place, ratio, probability in zip(order[: rule.top], ratios, probabilities, strict=False)
    )
    ranked_answer = replace(blank, decision="rejected", candidates=candidates, nobody=nobody)
    alone = _ratio(judge, near[order[0]], voice)
    if alone >= threshold and probabilities[0] > rule.certainty:
        return replace(ranked_answer, decision="accepted", person=candidates[0].person)
    return replace(ranked_answer, remark=_as_a_claim(judge, rule, ranked_answer, alone))


def _warnings(somebody: Neighbour, voice: Voices) -> str:
    return "; ".join(filter(None, (somebody.warning, *replayed(somebody.embedding, voice.embeddings))))


def _ratio(judge: Judge, likeliest: Neighbour, voice: Voices) -> float:
    """Return the log-likelihood ratio of one pair, computed as for a claim: bit by bit the same decision."""
    llrs = judge.compare(together([likeliest]), voice)[1]
    assert llrs is not None
    return float(llrs[0])


def _as_a_claim(judge: Judge, rule: Rule, found: Identification, llr: float) -> str:
    """Return why nobody is the answer although the likeliest would be accepted as a claim; empty where it would not."""
    known, best = judge.threshold_if_known(rule.prior, rule.false_acceptance), found.candidates[0]
    if known is None or found.threshold is None or llr < known:
        return ""
    claim = f"verified as {best.person} it would be accepted (log-likelihood ratio {llr:.2f}, threshold {known:.2f})"
    if llr < found.threshold:
        return (
            f"{claim}, but for at most {rule.false_acceptance:g} % of strangers to be taken for one of {found.people} "
            f"people the threshold is {found.threshold:.2f}"
        )
    return (
        f"{claim}, but among {found.people} people the probability is {best.probability:.2f}, and more than "
        f"{rule.certainty:g} is asked for"
    )
