"""The named suite, suites of one's own, and what is wrong with others."""

from pathlib import Path

import pytest

from voxanchor.conditions.spec import Condition, Reverb
from voxanchor.conditions.suites import Suite, snr_note, suite, suite_names, where
from voxanchor.errors import RecipeError


def test_the_noise_suite_is_the_one_of_the_field() -> None:
    noise = suite("noise")
    assert noise.name == "noise"
    assert len(noise.conditions) == 16
    assert noise.conditions[0] == Condition()
    assert set(noise.noisy) == {
        Condition(kind, snr) for kind in ("noise", "music", "babble") for snr in (0.0, 5.0, 10.0, 15.0, 20.0)
    }
    assert "noise" in suite_names()


def test_the_quick_suite_is_a_part_of_the_one_of_the_field() -> None:
    quick = suite("compatibility")
    assert len(quick.conditions) == 7
    assert {condition.snr_db for condition in quick.noisy} == {0.0, 10.0}
    assert set(quick.conditions) < set(suite("noise").conditions)


def test_the_suite_of_rooms_has_synthetic_ones_and_measured_ones() -> None:
    rooms = suite("reverb")
    assert rooms.conditions == (
        Condition(), *(Condition(room=Reverb(rt60_s)) for rt60_s in (0.3, 0.6, 1.0, None)),
    )  # fmt: skip
    assert rooms.noisy == rooms.conditions[1:]


def test_suites_of_channels_need_no_folders() -> None:
    assert [c.name for c in suite("telephone").conditions] == [
        "clean", "telephone", "mulaw", "gsm", "opus_6k", "opus_12k"
    ]  # fmt: skip
    assert all(c.channel and not c.noise and not c.room for c in suite("clipping").noisy)
    combined = suite("combined").noisy
    assert len(combined) == 8
    assert all(c.room != Reverb() for c in combined)
    assert any(c.room and c.noise and c.channel for c in combined)


def test_where_conditions_are_is_said_in_words() -> None:
    said = {name: suite(name).where for name in suite_names()}
    assert said == {
        "noise": "in noise",
        "compatibility": "in noise",
        "unseen-noise": "in noise",
        "unseen-recordings": "in noise",
        "reverb": "in rooms",
        "telephone": "over channels",
        "clipping": "over channels",
        "level": "over channels",
        "combined": "in noise and over channels",
    }
    assert where([Condition.parse("reverb+gsm")]) == "in rooms and over channels"


def test_a_suite_goes_through_the_classes_there_are() -> None:
    unseen = suite("unseen-noise")
    assert (unseen.conditions, unseen.each_class) == ((Condition(),), (0.0, 5.0, 10.0, 15.0, 20.0))
    whole = unseen.expanded(["rain", "traffic"])
    assert whole.each_class == ()
    assert [c.name for c in whole.noisy[4:7]] == ["rain_20db", "traffic_0db", "traffic_5db"]
    assert len(whole.noisy) == 10
    mixed = Suite("x", (Condition(), Condition("rain", 5.0)), (5.0,))
    assert [c.name for c in mixed.expanded(["rain", "wind"]).noisy] == ["rain_5db", "wind_5db"]
    with pytest.raises(RecipeError, match="cannot name"):
        unseen.expanded(["Rain"])


def test_a_file_defines_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: street\nconditions: [clean, traffic_-5db, rain_2.5db, traffic_5db]\n", encoding="utf-8")
    for reference in (path, str(path)):
        street = suite(reference)
        assert street.name == "street"
        assert street.conditions == (
            Condition(), Condition("traffic", -5.0), Condition("rain", 2.5), Condition("traffic", 5.0),
        )  # fmt: skip


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no suite 'nois'.*did you mean 'noise'"):
        suite("nois")
    with pytest.raises(RecipeError, match="cannot be read"):
        suite("absent.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\ncondition: [clean]\n", "did you mean 'conditions'"),
        ("name: a\nconditions: [clean\n", "not valid YAML"),
        ("[clean]", "a mapping"),
        ("", "a mapping"),
        ("conditions: [clean]", "'name' must be text"),
        ("name: a\nconditions: clean", "a list"),
        ("name: a\nconditions: [clean, babble]", "'babble' is not a condition"),
        ("name: a\nconditions: [babble_0db, clean]", "first condition must be clean"),
        ("name: a\nconditions: []", "first condition must be clean"),
        ("name: a\nconditions: [clean, babble_0db, babble_0.0db]", "listed twice: babble_0db"),
        ("name: a\nconditions: [clean]\neach_class: 5", "'each_class' is a list"),
        ("name: a\nconditions: [clean]\neach_class: [x]", "'each_class' is a list"),
        ("name: a\nconditions: [clean]\neach_class: [5, 5.0]", "listed twice: class_5db"),
        ("name: a\nconditions: [clean]\neach_class: [500]", "between -100 and 100"),
        ("name: ''\nconditions: [clean]", "needs a name"),
    ],
)
def test_errors_name_the_file_and_the_fault(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=words) as caught:
        suite(path)
    assert str(path) in str(caught.value)


def test_a_suite_made_in_code_is_checked_alike() -> None:
    with pytest.raises(RecipeError, match="first condition must be clean"):
        Suite("a", (Condition("babble", 0.0),))


def test_a_suite_says_what_its_ratios_lie_between(tmp_path: Path) -> None:
    path = tmp_path / "street.yaml"
    path.write_text("name: street\nconditions: [clean, noise_5db, reverb_0.4s]\neach_class: [0]\nsnr: whole\n")
    street = suite(path)
    assert (street.name, street.label) == ("street", "street-whole-snr")
    assert snr_note(street.label) == "SNR between whole-signal levels"
    levels = {condition.name: condition.snr for condition in street.expanded(["traffic"]).conditions}
    assert levels == {"clean": "active", "noise_5db": "whole", "reverb_0.4s": "active", "traffic_0db": "whole"}
    usual = suite("noise")
    assert usual.label == usual.name
    assert snr_note(usual.label) == ""
    assert {condition.snr for condition in usual.conditions} == {"active"}


def test_other_levels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "street.yaml"
    path.write_text("name: street\nconditions: [clean, noise_5db]\nsnr: loud\n")
    with pytest.raises(RecipeError, match="'snr' is active or whole"):
        suite(path)
    with pytest.raises(RecipeError, match="'active' or 'whole' levels"):
        Condition("noise", 5.0, snr="loud")  # type: ignore[arg-type]
