"""The settings of an evaluation: defined once, and the same in recipes, commands and workflows."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from voxanchor.cli.arguments import arguments_of, explain, parse, taking
from voxanchor.cli.evaluating import compatibility, evaluate
from voxanchor.config import build, descriptions, to_plain
from voxanchor.errors import RecipeError
from voxanchor.evaluation.settings import ComparisonSettings, EvaluationSettings, Examination, TrialSettings
from voxanchor.training.recipe import Evaluation
from voxanchor.workflows.evaluate import Comparison

ALL = (TrialSettings, Examination, EvaluationSettings, ComparisonSettings, Evaluation, Comparison)


@pytest.mark.parametrize("cls", ALL)
def test_every_setting_is_described(cls: type) -> None:
    assert {entry.name for entry in fields(cls)} <= descriptions(cls).keys()


@pytest.mark.parametrize(("command", "cls"), [(evaluate, ComparisonSettings), (compatibility, Examination)])
def test_a_command_offers_every_setting_with_its_default_and_text(command: Any, cls: type) -> None:
    known = {argument.flag: argument for argument in arguments_of(command)}
    for entry in fields(cls):
        name = entry.metadata.get("flag", entry.name)
        if not name:
            continue
        argument = known[f"--{name.replace('_', '-')}"]
        assert argument.text.startswith(descriptions(cls)[entry.name])
        assert argument.default == (None if "unset" in entry.metadata else entry.default)
        assert not argument.required


def test_the_documentation_of_recipes_has_every_setting() -> None:
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^  (\w+):", text.partition("\nevaluation:\n")[2].partition("\ncomparison:")[0], re.MULTILINE)
    assert sorted(listed) == sorted(entry.name for entry in fields(Evaluation))


def test_a_recipe_passes_all_its_settings_on() -> None:
    given = {
        "noise": ("n",),
        "rooms": ("r",),
        "suite": "reverb",
        "trials": "list",
        "segment_s": 0.0,
        "max_segments": 2,
        "noise_seeds": 3,
        "precision": "auto",
        "protocol": "both-noisy",
        "enrolments": "map",
        "snr": "whole",
        "note": "read this",
    }
    assert set(given) == {entry.name for entry in fields(EvaluationSettings)}
    for entry in fields(EvaluationSettings):
        assert given[entry.name] != entry.default, "a default would pass unseen"
    evaluation = build(Evaluation, {"systems": ["base"], "speech": "s", **to_plain(given)})
    comparison = Comparison(models={"base": "b"}, **evaluation.shared)
    assert {name: getattr(comparison, name) for name in given} == given


def test_the_plain_form_of_a_recipe_s_evaluation_is_that_of_older_runs() -> None:
    assert to_plain(Evaluation(systems=("a",))) == {
        "systems": ["a"],
        "noise": [],
        "suite": "noise",
        "protocol": "clean-enrol",
        "segment_s": 3.0,
        "max_segments": 4,
        "noise_seeds": 1,
        "note": "",
    }


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(RecipeError, match="set segment_s: 0"):
        Examination(trials="list")
    with pytest.raises(RecipeError, match="at least 1"):
        Evaluation(systems=("a",), noise_seeds=0)
    with pytest.raises(RecipeError, match="give trials"):
        Comparison(models={"a": "a"}, enrolments="map")
    with pytest.raises(RecipeError, match="at least one model"):
        Comparison(models={})
    with pytest.raises(RecipeError, match="missing key systems"):
        build(Evaluation, {})


@dataclass(frozen=True)
class Base:
    """For the test.

    Attributes:
        folders: where to look,
            one or several.
    """

    folders: tuple[str, ...] = field(default=(), metadata={"metavar": "DIR"})


@dataclass(frozen=True)
class Further(Base):
    """For the test.

    Attributes:
        kind: of what.
        length_s: how long.
        hidden: for nobody.
        method: how.
    """

    kind: Literal["a", "b"] = "a"
    length_s: float = field(default=2.0, metadata={"metavar": "SECONDS", "unset": "Default 2."})
    hidden: int = field(default=1, metadata={"flag": ""})
    method: str = field(default="x", metadata={"flag": "how"})


def test_the_fields_of_a_dataclass_become_arguments_of_a_command() -> None:
    seen: list[Any] = []

    @taking(Further)
    def command(name: str, settings: dict[str, Any], count: int = 3) -> int:
        """Do something.

        Example: voxanchor do --name x

        Args:
            name: whose.
            settings: replaced.
            count: how many.
        """
        seen.append((name, settings, count))
        return 4

    known = {argument.flag: argument for argument in arguments_of(command)}
    assert list(known) == ["--name", "--folders", "--kind", "--length-s", "--how", "--count"]
    assert (known["--folders"].metavar, known["--folders"].text) == ("DIR", "where to look, one or several.")
    assert known["--folders"].several
    assert known["--kind"].choices == ("a", "b")
    assert (known["--length-s"].default, known["--length-s"].text) == (None, "how long. Default 2.")
    assert "--settings" not in explain("do", command)
    words = ["--name", "x", "--folders", "one", "--folders", "two", "--kind", "b", "--how", "y"]
    assert parse("do", command, words)() == 4
    assert parse("do", command, ["--name", "x", "--length-s", "0.5", "--count", "1"])() == 4
    assert seen == [
        ("x", {"folders": ("one", "two"), "kind": "b", "length_s": None, "method": "y"}, 3),
        ("x", {"folders": (), "kind": "a", "length_s": 0.5, "method": "x"}, 1),
    ]
