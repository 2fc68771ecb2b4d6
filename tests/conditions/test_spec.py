"""Names of conditions and back, and draws of training conditions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.conditions.spec import Channel, Condition, NoiseMix, Reverb
from voxanchor.errors import RecipeError

KINDS = st.builds("{}{}".format, st.sampled_from("abxyz"), st.sampled_from(("", "1", "oise", "_2", "-b_c", "_5db")))


ROOMS = st.none() | st.builds(Reverb, st.none() | st.floats(0.1, 3.0))
CHANNELS = (
    st.sampled_from((None, Channel("telephone"), Channel("gsm")))
    | st.builds(Channel, st.just("opus"), st.floats(6, 256))
    | st.builds(Channel, st.just("clipped"), st.floats(-20, 40))
)


@given(kind=KINDS, snr_db=st.floats(-100, 100), room=ROOMS, channel=CHANNELS)
@settings(max_examples=60, deadline=None)
def test_a_name_is_read_back_exactly(kind: str, snr_db: float, room: Reverb | None, channel: Channel | None) -> None:
    for condition in (Condition(kind, snr_db, room, channel), Condition(room=room, channel=channel)):
        assert Condition.parse(condition.name) == condition
        assert condition.is_clean == (condition.name == "clean") == (condition.kind == "")


def test_rooms_have_names_of_their_own() -> None:
    assert Condition.parse("reverb") == Condition(room=Reverb())
    assert Condition.parse("reverb_1s") == Condition.parse("reverb_1.0s") == Condition(room=Reverb(1.0))
    assert Condition(room=Reverb(1)).name == "reverb_1s"
    both = Condition("babble", 5.0, Reverb(0.6))
    assert (both.name, both.kind) == ("reverb_0.6s+babble_5db", "reverb_0.6s+babble")
    assert Condition.parse("reverb+babble_5db").room == Reverb()
    assert Condition.parse("reverb_5db") == Condition("reverb", 5.0)  # a kind of noise may have the name


@pytest.mark.parametrize(
    "name", ["reverb_s", "reverb_xs", "reverb_0.6", "reverb+", "reverb+babble", "babble_5db+reverb"]
)
def test_what_names_no_room_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="such as 'babble_0db'"):
        Condition.parse(name)


@pytest.mark.parametrize("name", ["reverb_0s", "reverb_9s", "reverb_nans", "reverb_9s+babble_0db"])
def test_a_reverberation_time_that_cannot_be_made_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r"from 0\.1 to 3 s"):
        Condition.parse(name)


def test_a_channel_comes_last() -> None:
    assert Condition.parse("gsm") == Condition(channel=Channel("gsm"))
    assert Condition.parse("clipped_6db") == Condition(channel=Channel("clipped", 6.0))
    assert Condition.parse("reverb+opus_6k") == Condition(room=Reverb(), channel=Channel("opus", 6.0))
    whole = Condition("noise", 10.0, Reverb(0.6), Channel("opus", 6.0))
    assert (whole.name, whole.kind) == ("reverb_0.6s+noise_10db+opus_6k", "reverb_0.6s+noise+opus_6k")
    assert not Condition(channel=Channel("mulaw")).is_clean


@pytest.mark.parametrize(
    "name",
    ["gsm+babble_5db", "gsm+gsm", "babble_5db+", "clean+gsm", "gsm_5db", "opus_5db", "babble+gsm", "opus_6k_5db",
     "reverb_5db+reverb+gsm", "a_5db+b_5db+gsm", "telephone_5db", "gsm+reverb"],
)  # fmt: skip
def test_what_is_out_of_order_or_has_the_name_of_a_channel_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="Channels are telephone, mulaw, gsm, dead_channel, opus_Xk"):
        Condition.parse(name)


def test_names_are_those_of_the_tables() -> None:
    assert Condition().name == "clean"
    assert Condition().is_clean
    assert Condition("babble", 0.0).name == Condition("babble", -0.0).name == "babble_0db"
    assert Condition("noise", -5).name == "noise_-5db"
    assert Condition("speech_shaped", 2.5).name == "speech_shaped_2.5db"
    assert Condition.parse("speech_shaped_2.5db") == Condition("speech_shaped", 2.5)
    assert Condition.parse("clean") == Condition()
    assert not Condition.parse("music_10db").is_clean


@pytest.mark.parametrize(
    "name", ["", "dirty", "babble", "babble_db", "babble_5", "_5db", "babble_xdb", "Babble_5db", "clean_5db", "a_nandb"]
)
def test_what_names_no_condition_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="such as 'babble_0db'"):
        Condition.parse(name)


@pytest.mark.parametrize(
    ("noise", "snr_db"), [("babble", None), (None, 5.0), ("babble", np.inf), ("a b", 5.0), ("x", 101)]
)
def test_impossible_conditions_are_refused(noise: str | None, snr_db: float | None) -> None:
    with pytest.raises(RecipeError):
        Condition(noise, snr_db)


def test_training_conditions_follow_weights_and_range() -> None:
    mix = NoiseMix((("noise", 2.0), ("music", 1.0), ("babble", 1.0), ("white", 0.0)), (-5.0, 15.0))
    draws = np.random.default_rng(0).random((2, 2_000))
    kinds, snr_db = mix.choose(*draws)
    assert np.bincount(kinds, minlength=4) / 2_000 == pytest.approx([0.5, 0.25, 0.25, 0.0], abs=0.04)
    counts = np.histogram(snr_db, bins=10, range=(-5.0, 15.0))[0]
    assert counts.sum() == 2_000
    assert counts.min() > 140
    assert (NoiseMix(snr_db=(5.0, 5.0)).choose(*draws)[1] == 5.0).all()


def test_impossible_training_conditions_are_refused() -> None:
    with pytest.raises(RecipeError, match="lower end"):
        NoiseMix(snr_db=(20.0, 0.0))
    with pytest.raises(RecipeError, match="lower end"):
        NoiseMix(snr_db=(float("nan"), 0.0))
    with pytest.raises(RecipeError, match="named twice"):
        NoiseMix((("noise", 1.0), ("noise", 2.0)))
    for kinds in ((), (("noise", 0.0),), (("noise", -1.0), ("music", 2.0)), (("noise", float("inf")),)):
        with pytest.raises(RecipeError, match="weights"):
            NoiseMix(kinds)
    with pytest.raises(RecipeError, match="cannot name a kind"):
        NoiseMix((("Street noise", 1.0),))
