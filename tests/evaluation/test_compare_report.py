import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxanchor.errors import CorpusError
from voxanchor.evaluation.compare import compare_systems
from voxanchor.evaluation.compare_report import (
    Budget,
    ComparedReport,
    TuningRow,
    read_curve,
    render,
    write_compared_report,
)
from voxanchor.evaluation.plots import EmbeddingMap, TrainingCurve
from voxanchor.evaluation.protocol import Outcome

EVIL = '<script>alert("x")</script>'

OpenPage = Callable[[str], Any]
MakeOutcome = Callable[..., Outcome]
MakeReport = Callable[..., ComparedReport]


def two(make: MakeOutcome, errors: Mapping[str, tuple[float, float]], **changes: Any) -> ComparedReport:
    """A bare report of a few systems in the main suite."""
    return ComparedReport("Few", {"noise": make(errors=errors, **changes)}, "base", list(errors)[-1])


def test_the_page_is_whole_self_contained_and_explains_itself(
    made_up_report: MakeReport, open_page: OpenPage, tmp_path: Path
) -> None:
    write_compared_report(tmp_path / "report.html", made_up_report())
    page = open_page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("h1") == 1
    wanted = "results against systems conditions conditions-1 snr det geometry maps budgets training facts recipe"
    assert set(wanted.split()) <= set(page.ids)
    assert page.tags.count("svg") == 5 + 3 + 3 + 6 + 6 + 6
    for words in (
        "Do fixed anchors help?",
        "3 of each system",
        "unseen noise",
        "dB gained",
        "p-value, by paired bootstrap: 200 times speakers and training seeds are drawn anew",
        "among 25 without any true difference, about 1 would look settled",
        "3 training seeds are few",
        "Of several trainings the curve is that of the first seed.",
        "seeds 1.43\N{EN DASH}1.52",
        "drift from the clean embedding",
        "500 steps towards the anchors",
        "joint_consistency hears every crop twice",
        "learning_rate 0.001, weight 10",
        "chosen",
        "21 min",
        "name: anchored_unlabelled",
        "Made up: no model was trained for this page.",
    ):
        assert words in page.text, words


def test_nothing_from_outside_is_taken_for_markup(
    made_up_outcome: MakeOutcome, made_up_report: MakeReport, open_page: OpenPage
) -> None:
    errors = {"base": (2.0, 1.0), EVIL: (1.0, 0.5)}
    outcome = made_up_outcome(errors=errors)
    curves = [
        TrainingCurve(EVIL, 1, EVIL, (10,), (1.0,), ((0, 2.0, 3.0),)),
        TrainingCurve(EVIL, 1, "b", (5,), (1,), ()),
    ]
    chart = EmbeddingMap(EVIL, np.zeros((4, 2)), np.arange(4), np.arange(4) > 1)
    data = made_up_report(
        title=EVIL,
        question=EVIL,
        outcomes={"noise": outcome, EVIL: outcome},
        ours=EVIL,
        described={EVIL: EVIL},
        plans={EVIL: [EVIL]},
        budgets=[Budget(EVIL, [EVIL], 1, 2, 3, 4.0, 5.0, 6), Budget("other" + EVIL, [], 1, 2, 3, 4.0, 7200.0, 6)],
        unequal=[EVIL],
        tuning=[TuningRow(EVIL, {EVIL: 1.0}, 1.0, 2.0, 3.0, True)],
        curves=curves,
        maps=[chart],
        facts=[(EVIL, EVIL)],
        notes=[EVIL],
        recipe=EVIL,
    )
    page = open_page(render(data))  # fails on any element from a name that was not escaped
    assert page.text.count(EVIL) > 20


def test_a_bare_report_has_no_empty_sections(made_up_outcome: MakeOutcome, open_page: OpenPage) -> None:
    page = open_page(render(two(made_up_outcome, {"base": (2.0, 1.0), "anchored": (1.0, 0.5)}, with_curves=False)))
    assert {"results", "against", "conditions", "snr", "geometry"} == set(page.ids) & {
        *("results", "against", "systems", "conditions", "snr", "det", "geometry", "maps", "budgets", "training"),
        *("facts", "recipe"),
    }


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (
            {"base": (2.0, 1.0), "joint": (3.0, 0.8), "anchored": (1.0, 0.4)},
            ["lower than every other system: base (2", "louder than for base", "On clean speech, anchored has"],
        ),
        (
            {"base": (2.0, 0.5), "joint": (3.0, 0.3), "anchored": (6.0, 1.0)},
            ["higher than every other system: base (", "must be", "fainter than for base"],
        ),
        (
            {"base": (2.0, 1.0), "joint": (3.0, 0.3), "anchored": (1.0, 0.5)},
            ["lower than base (2", "but higher than joint (9"],
        ),
        (
            {"base": (2.0, 1.0), "twin": (1.0, 0.5), "anchored": (1.0, 0.5)},
            ["lower than base (2", ". Whether it is lower or higher than twin (1", "do not settle."],
        ),
        ({"base": (2.0, 1.0), "anchored": (2.0, 1.0)}, [". Whether it is lower or higher than base (2", "not settled"]),
        ({"base": (2.0, 1.0), "anchored": (1.0, 0.5)}, ["%, lower than base (2"]),
        ({"base": (2.0, 1.0), "anchored": (1.0, 0.04)}, ["may be at least 20.0 dB louder than for base."]),
    ],
)
def test_the_lead_says_what_was_found(
    errors: dict[str, tuple[float, float]], said: list[str], made_up_outcome: MakeOutcome, open_page: OpenPage
) -> None:
    text = open_page(render(two(made_up_outcome, errors, with_curves=False))).text
    for words in said:
        assert words in text


def test_bold_is_what_is_settled(made_up_outcome: MakeOutcome) -> None:
    def bold(errors: dict[str, tuple[float, float]]) -> int:
        return render(two(made_up_outcome, errors, with_curves=False)).count('class="number best"')

    assert bold({"base": (2.0, 1.0), "twin": (1.0, 0.5), "anchored": (1.0, 0.5)}) == 0
    assert bold({"base": (2.0, 1.0), "joint": (3.0, 0.8), "anchored": (1.0, 0.4)}) == 4  # clean, noisy, all, dB


def test_one_training_is_said_to_be_one(made_up_outcome: MakeOutcome, open_page: OpenPage) -> None:
    data = two(made_up_outcome, {"base": (2.0, 1.0), "anchored": (1.0, 0.5)}, seeds=(4,))
    text = open_page(render(data)).text
    assert "Every system was trained once, so nothing here says what another training seed would change." in text
    assert "1 of each system" in text
    assert "200 times the speakers are drawn anew" in text
    assert "training seeds are few" not in text
    assert ">seeds " not in render(data)


def test_a_published_base_is_said_to_have_one_run(made_up_outcome: MakeOutcome, open_page: OpenPage) -> None:
    data = two(made_up_outcome, {"base": (2.0, 1.0), "anchored": (1.0, 0.5)}, single=["base"])
    assert "3 of each system, but 1 of base" in open_page(render(data)).text


def test_rooms_have_no_noise_levels(made_up_outcome: MakeOutcome, open_page: OpenPage) -> None:
    rooms = made_up_outcome("rooms", errors={"base": (2.0, 1.0), "anchored": (1.0, 0.5)})
    text = open_page(render(ComparedReport("Rooms", {"rooms": rooms}, "base", "anchored"))).text
    assert "In the suite rooms (mean of 2 conditions), anchored has an equal error rate of" in text
    assert "dB gained" not in text


def test_without_matplotlib_the_tables_remain(
    made_up_report: MakeReport,
    open_page: OpenPage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = open_page(render(made_up_report()))
    assert page.text.count("pip install 'voxanchor[report]'") == 1
    assert capsys.readouterr().err.count("the report has no figures") == 1
    assert "svg" not in page.tags
    assert {"results", "against", "conditions", "geometry", "budgets", "recipe"} <= set(page.ids)


def test_the_same_data_give_the_same_bytes(made_up_report: MakeReport) -> None:
    data = made_up_report()
    compared = compare_systems(data.outcomes, base="base", ours="anchored")
    assert render(data) == render(data, compared)


def test_a_curve_is_read_from_the_metrics_of_a_stage(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 0, "validation": {"clean_eer": 9.0, "noisy_eer": 20.0}},
        {"step": 10, "loss": 3.5, "aam": 3.0, "learning_rate": 0.001},
        {"step": 20, "loss": 2.5},
        {"step": 20, "validation": {"clean_agreement": 0.9}},
        {"step": 30, "validation": {"clean_eer": 3.0, "noisy_eer": 8.0, "clean_agreement": 0.9}},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert read_curve(path, "joint", 2, "train") == TrainingCurve(
        "joint", 2, "train", (10, 20), (3.5, 2.5), ((0, 9.0, 20.0), (30, 3.0, 8.0))
    )
    assert read_curve(tmp_path / "none.jsonl", "joint", 2, "train").steps == ()
    for damaged in ("{", "[]\n", '{"loss": 1}\n'):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(CorpusError, match="not the metrics of a training"):
            read_curve(path, "joint", 2, "train")
