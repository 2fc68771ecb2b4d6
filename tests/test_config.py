from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from voxanchor import config
from voxanchor.errors import RecipeError


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0
    kind: Literal["cosine", "euclidean"] = "cosine"


@dataclass(frozen=True)
class Outer:
    name: str
    steps: int = 3
    inner: Inner = field(default_factory=Inner)
    pair: tuple[float, float] = (0.0, 1.0)
    paths: tuple[str, ...] = ()
    stages: dict[str, Inner] = field(default_factory=dict)
    maybe: Inner | None = None


@dataclass(frozen=True)
class Grown(Outer):
    """As `Outer`, with what a later version added."""

    added: tuple[str, ...] = field(default=(), metadata=config.LATER)
    more: Inner = field(default=Inner(), metadata=config.LATER)


def test_what_is_added_later_changes_no_identity_while_it_is_not_used() -> None:
    assert config.to_plain(Grown("x")) == config.to_plain(Outer("x"))
    assert config.fingerprint(Grown("x")) == config.fingerprint(Outer("x"))
    for used in (Grown("x", added=("a",)), Grown("x", more=Inner(2.0))):
        assert config.fingerprint(used) != config.fingerprint(Outer("x"))
        assert config.build(Grown, config.to_plain(used)) == used
    assert config.build(Grown, config.to_plain(Grown("x"))) == Grown("x")


def test_yaml_reads_back_what_was_written() -> None:
    import yaml

    outer = Outer("x", 7, Inner(1e-3, "euclidean"), (1, 2), ("a",), {"b": Inner(2)}, Inner())
    assert config.build(Outer, yaml.safe_load(config.dump(outer))) == outer


def test_numbers_written_as_yaml_strings_are_converted() -> None:
    outer = config.build(Outer, {"name": "x", "inner": {"rate": "1e-3"}, "steps": 4.0})
    assert outer.inner.rate == 1e-3
    assert outer.steps == 4
    assert isinstance(outer.steps, int)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "stepz": 1}, "stepz.*Did you mean 'steps'"),
        ({"name": "x", "inner": {"rat": 1}}, r"recipe\.inner: unknown key 'rat'.*'rate'"),
        ({"steps": 1}, "missing key name"),
        ({"name": "x", "steps": 1.5}, r"recipe\.steps: expected int"),
        ({"name": "x", "steps": True}, r"recipe\.steps: expected int"),
        ({"name": "x", "inner": {"kind": "cosin"}}, "Did you mean 'cosine'"),
        ({"name": "x", "pair": [1]}, "expected 2 values"),
        ({"name": "x", "paths": "a"}, "expected a list"),
        ({"name": "x", "stages": {"b": {"rates": 1}}}, r"recipe\.stages\.b: unknown key"),
        ({"name": 3}, r"recipe\.name: expected str"),
        ([], "expected keys and values"),
    ],
)
def test_what_does_not_fit_is_an_error_with_its_place(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        config.build(Outer, values)


def test_override_reaches_into_mappings_and_lists() -> None:
    values = {"stages": {"base": {"rate": 1}}, "paths": ["a", "b"]}
    changed = config.override(values, ["stages.base.rate=1e-3", "paths.1=c", "stages.new.rate=2", "name=x"])
    outer = config.build(Outer, changed)
    assert outer.stages["base"].rate == 1e-3
    assert outer.stages["new"].rate == 2
    assert outer.paths == ("a", "c")
    assert values["paths"] == ["a", "b"]


@pytest.mark.parametrize("setting", ["steps", "=3", "paths.7=a", "name.deeper=1", "steps=[1"])
def test_override_refuses_what_it_cannot_place(setting: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        config.override({"name": "x", "paths": ["a"]}, [setting])


def test_yaml_files_are_data(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    with pytest.raises(RecipeError, match="cannot be read"):
        config.read_yaml(path)
    path.write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(RecipeError, match="not valid YAML"):
        config.read_yaml(path)
    path.write_text("- a")
    with pytest.raises(RecipeError, match="expected keys"):
        config.read_yaml(path)


def test_fingerprint_changes_with_any_value() -> None:
    assert config.fingerprint(Inner()) == config.fingerprint(Inner())
    assert config.fingerprint(Inner()) != config.fingerprint(Inner(2))


@dataclass(frozen=True)
class Part:
    share: float = field(default=1.0, metadata=config.formerly("blend"))
    mode: str = field(default="", metadata={**config.LATER, **config.formerly("way")})


@dataclass(frozen=True)
class Whole:
    parts: dict[str, Part] = field(default_factory=dict)
    rows: tuple[Part, ...] = ()
    one: Part | None = field(default=None, metadata=config.formerly("single"))


OLD = {"parts": {"a": {"blend": 0.5, "way": "x"}}, "rows": [{"blend": 2.0}], "single": {"blend": 3.0}}
NEW = {"parts": {"a": {"share": 0.5, "mode": "x"}}, "rows": [{"share": 2.0}], "one": {"share": 3.0}}


def test_a_field_is_read_by_both_its_names_and_keeps_its_identity(tmp_path: Path) -> None:
    old, new = config.build(Whole, OLD), config.build(Whole, NEW)
    assert old == new == Whole({"a": Part(0.5, "x")}, (Part(2.0),), Part(3.0))
    assert config.current(Whole, OLD) == config.current(Whole, NEW) == NEW
    # identities keep the first names, so that what was made under them is known; files get the present ones
    assert config.to_plain(new) == OLD
    assert config.fingerprint(new) == config.fingerprint(OLD)
    written = config.dump(new)
    assert "share: 0.5" in written
    assert "blend" not in written
    (tmp_path / "x.yaml").write_text(written)
    assert config.build(Whole, config.read_yaml(tmp_path / "x.yaml")) == new


@pytest.mark.parametrize("values", [OLD, NEW])
@pytest.mark.parametrize(
    "setting", ["parts.a.{share}=0.25", "rows.0.{share}=0.25", "{one}.{share}=0.25", "{one}={{{share}: 0.25}}"]
)
def test_a_setting_may_have_either_name_too(values: dict[str, Any], setting: str) -> None:
    found = [
        config.build(Whole, config.override(values, [setting.format(share=share, one=one)], Whole))
        for share, one in (("share", "one"), ("blend", "single"))
    ]
    assert found[0] == found[1] != config.build(Whole, values)


@pytest.mark.parametrize("function", [config.build, config.current])
def test_both_names_at_once_are_refused_with_their_place(function: Callable[..., object]) -> None:
    with pytest.raises(RecipeError, match=r"recipe.parts.a: 'blend' is the former name of 'share'. Give one"):
        function(Whole, {"parts": {"a": {"blend": 1, "share": 1}}})
