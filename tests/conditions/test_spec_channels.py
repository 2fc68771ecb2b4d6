"""Channels as data: names and back, and what is no channel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.conditions.spec import KINDS, Channel
from voxanchor.errors import AudioError, RecipeError

CHANNELS = (
    st.sampled_from(("telephone", "mulaw", "gsm", "dead_channel")).map(Channel)
    | st.builds(Channel, st.just("opus"), st.floats(6, 256))
    | st.builds(Channel, st.just("clipped"), st.floats(-20, 40))
    | st.builds(Channel, st.just("gain"), st.floats(-60, 40))
    | st.builds(Channel, st.just("dc"), st.floats(-0.5, 0.5))
)


@given(channel=CHANNELS)
@settings(max_examples=60, deadline=None)
def test_a_name_is_read_back_exactly(channel: Channel) -> None:
    assert Channel.parse(channel.name) == channel
    assert channel.kind in KINDS
    assert channel.description


def test_names_are_plain() -> None:
    assert Channel("opus", 6).name == "opus_6k"
    assert Channel("clipped", -3.0).name == "clipped_-3db"
    assert Channel("clipped", -0.0).name == "clipped_0db"
    assert Channel.parse("opus_7.5k") == Channel("opus", 7.5)


@pytest.mark.parametrize(
    "name", ["", "opus", "clipped", "opus_6", "opus_k", "gsm_6k", "clipped_3", "fax", "opus_6k_5db"]
)
def test_other_names_are_not_those_of_channels(name: str) -> None:
    assert Channel.parse(name) is None


@pytest.mark.parametrize("name", ["opus_5k", "opus_300k", "opus_nank", "clipped_50db", "clipped_-infdb"])
def test_an_amount_that_a_channel_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="goes from"):
        Channel.parse(name)


@pytest.mark.parametrize(("kind", "amount"), [("fax", None), ("gsm", 6.0), ("opus", None)])
def test_impossible_channels_are_refused_and_the_others_named(kind: str, amount: float | None) -> None:
    with pytest.raises(
        RecipeError, match="telephone, mulaw, gsm, dead_channel, opus_Xk, clipped_Xdb, gain_Xdb, dc_Xfs"
    ):
        Channel(kind, amount)


@pytest.mark.parametrize("kind", ["telephone", "gsm"])
def test_what_is_no_recording_is_refused(kind: str) -> None:
    for wave in (np.zeros(0, np.float32), np.array([0.1, np.nan], np.float32)):
        with pytest.raises(AudioError, match="samples"):
            Channel(kind).apply(wave)


def test_the_recording_itself_is_left_as_it_is() -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(4_000).astype(np.float32)
    wave.setflags(write=False)
    before = wave.copy()
    for channel in (Channel("telephone"), Channel("gsm"), Channel("clipped", 0)):
        assert (channel.apply(wave[::1]) != wave).any()
    assert (wave == before).all()
