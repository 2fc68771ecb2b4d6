"""What a comparison found, in sentences made from its numbers and no more certain than they are."""

from collections.abc import Sequence

from voxanchor.evaluation.compared import ComparedSystems
from voxanchor.evaluation.compared_figures import GAIN
from voxanchor.evaluation.markup import paragraph, text
from voxanchor.evaluation.paired import Contrast
from voxanchor.evaluation.sections import listed, percent
from voxanchor.evaluation.summary import CLEAN, NOISY

_MINUS = "\N{MINUS SIGN}"


def lead(compared: ComparedSystems) -> str:
    """Return the findings: noise first, then what holds elsewhere."""
    first = [verdict(compared, NOISY, where(compared, NOISY))] if NOISY in compared.figures else []
    others = [
        verdict(compared, figure, where(compared, figure))
        for figure in (*compared.suites[1:], CLEAN)
        if figure in compared.figures
    ]
    others += [sentence for sentence in (_gain(compared), _certainty(compared)) if sentence]
    sentences = [*first, *others]
    if not sentences:
        return ""
    items = "".join(f"<li>{sentence}</li>" for sentence in sentences[1:])
    return paragraph(sentences[0], "lead") + (f'\n<ul class="findings">{items}</ul>' if items else "")


def where(compared: ComparedSystems, figure: str) -> str:
    """Return where a figure was measured, as the beginning of a sentence."""
    if figure == CLEAN:
        return "On clean speech"
    suite = compared.suites[0] if figure == NOISY else figure
    mean = f"(mean of {compared.mean_of(figure)} conditions)"
    if suite == "unseen-noise":
        return f"In kinds of noise that no training had heard {mean}"
    if not compared.systems[compared.base].suites[suite].curves or figure != NOISY:
        return f"In the suite {text(suite)} {mean}"
    return f"In noise {mean}"


def verdict(compared: ComparedSystems, figure: str, place: str) -> str:
    """Return how ours stands against every opponent in one figure that is an error rate, as HTML."""
    value = compared.systems[compared.ours].figures[figure].value
    sides: dict[str, list[str]] = {"lower": [], "higher": [], "open": []}
    for opponent, contrasts in compared.against.items():
        error = compared.systems[opponent].figures[figure].value
        sides[_side(contrasts[figure])].append(f"{text(opponent)} ({percent(error)})")
    sentence = f"{place}, <b>{text(compared.ours)}</b> has an equal error rate of <b>{percent(value)}</b>"
    lower, higher, undecided = sides["lower"], sides["higher"], sides["open"]
    if lower:
        sentence += f", lower than {_named(lower, len(compared.against))}"
    if higher:
        sentence += f"{' but' if lower else ','} higher than {_named(higher, len(compared.against))}"
    if undecided:
        luck = "these speakers and training seeds do" if _seeds(compared) > 1 else "these speakers do"
        sentence += f". Whether it is lower or higher than {listed(undecided)}, {luck} not settle"
    return sentence + "."


def _named(items: Sequence[str], everybody: int) -> str:
    """The items in words; all of several are said to be all."""
    return f"every other system: {listed(items)}" if len(items) == everybody > 1 else listed(items)


def _side(difference: Contrast) -> str:
    if not difference.settled:
        return "open"
    return "lower" if difference.value < 0 else "higher"


def _gain(compared: ComparedSystems) -> str:
    gain, difference = compared.systems[compared.ours].gain, compared.against[compared.base].get(GAIN)
    if gain is None or difference is None:
        return ""
    louder = gain.db >= 0
    bound = {"exact": "", "at_least": "at least " if louder else "at most "}
    bound["at_most"] = "at most " if louder else "at least "
    sentence = (
        f"For the same error the noise {'may' if louder else 'must'} be {bound[gain.bound]}"
        f"<b>{abs(gain.db):.1f}&nbsp;dB</b> {'louder' if louder else 'fainter'} than for {text(compared.base)}"
    )
    if gain.bound == "exact" and difference.low is not None and difference.high is not None:
        ends = [f"{end:+.1f}".replace("-", _MINUS) for end in (difference.low, difference.high)]
        sentence += f" (dB gained, 95&nbsp;% interval: {ends[0]} to {ends[1]})"
    return sentence + ("." if difference.settled else ", a difference that is not settled.")


def _certainty(compared: ComparedSystems) -> str:
    if _seeds(compared) == 1:
        return "Every system was trained once, so nothing here says what another training seed would change."
    return ""


def _seeds(compared: ComparedSystems) -> int:
    return max(len(system.seeds) for system in compared.systems.values())
