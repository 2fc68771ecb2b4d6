import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.corpus import trial_lists
from voxanchor.corpus.trial_lists import LONGEST, NameCodes


def look_up(codes: NameCodes, names: list[str]) -> list[int]:
    buffer = "".join(names).encode("ascii") + b"\xff" * LONGEST
    ends = np.cumsum([len(name) for name in names])
    starts = ends - [len(name) for name in names]
    return [int(code) for code in codes.look_up(np.frombuffer(buffer, np.uint8), starts, ends)]


NAMES = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30), min_size=1)


@given(st.lists(NAMES, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_finds_what_a_dictionary_finds(buffers: list[list[str]]) -> None:
    expected: dict[str, int] = {}
    asked: list[str] = []

    def find(name: str) -> int:
        asked.append(name)
        return len(asked) - 1

    codes = NameCodes(find)
    for names in buffers:
        for name in names:
            expected.setdefault(name, len(expected))
        assert look_up(codes, names) == [expected[name] for name in names]
    assert asked == list(expected)  # once each, in the order of their first meeting
    assert codes.of == expected


@pytest.mark.parametrize("slots_per_name", [0, 1, 8])
def test_names_that_share_a_slot_are_told_apart(slots_per_name: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_lists, "_SLOTS_PER_NAME", slots_per_name)  # with none, the table never grows
    names = [f"id{speaker}/{'x' * (speaker % 40)}/{clip:05d}.wav" for speaker in range(100) for clip in range(50)]
    number = {name: place for place, name in enumerate(names)}
    codes = NameCodes(number.__getitem__)
    order = np.random.default_rng(0).permutation(len(names)).tolist()
    for _ in range(3):
        for start in range(0, len(order), 700):
            part = order[start : start + 700]
            assert look_up(codes, [names[place] for place in part]) == part


def test_a_name_may_be_as_long_as_promised() -> None:
    names = ["a" * LONGEST, "a" * (LONGEST - 1) + "b", "a" * 8, "a" * 9, "a"]
    codes = NameCodes(names.index)
    assert look_up(codes, names[2:]) == [2, 3, 4]
    assert look_up(codes, names) == look_up(codes, names) == [0, 1, 2, 3, 4]
    assert codes["a"] == 4
