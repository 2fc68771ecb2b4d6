import contextlib
import json
from pathlib import Path

import pytest

from voxanchor.errors import CorpusError, OutputError
from voxanchor.files import replacing, write_text
from voxanchor.outputs import IDENTITY_FILE, claim


def test_the_same_job_resumes_and_another_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with claim(out, "train", {"steps": 3, "paths": ("a",)}) as resumed:
        assert not resumed
    with claim(out, "train", {"steps": 3, "paths": ("a",)}) as resumed:
        assert resumed
    with (
        pytest.raises(OutputError, match=r"identity.steps: 3 -> 4"),
        claim(out, "train", {"steps": 4, "paths": ("a",)}),
    ):
        pass
    with pytest.raises(OutputError, match="kind"), claim(out, "evaluate", {"steps": 3, "paths": ("a",)}):
        pass


def test_foreign_files_are_never_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"), claim(tmp_path, "train", {}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match="is a file"), claim(tmp_path / "thesis.txt", "train", {}):
        pass


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with (
        claim(tmp_path / "run", "train", {}),
        pytest.raises(OutputError, match="at work"),
        claim(tmp_path / "run", "train", {}),
    ):
        pass


def test_a_damaged_identity_is_an_error(tmp_path: Path) -> None:
    with claim(tmp_path / "run", "train", {}):
        pass
    (tmp_path / "run" / IDENTITY_FILE).write_text("{")
    with pytest.raises(OutputError, match="cannot be read"), claim(tmp_path / "run", "train", {}):
        pass


def test_writing_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_text(path, "old")
    with contextlib.suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    write_text(path, json.dumps({"new": 1}))
    assert json.loads(path.read_text()) == {"new": 1}
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_an_unwritable_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "file" / "inside.txt", "x")


def test_a_job_that_made_nothing_leaves_the_folder_free(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(CorpusError), claim(out, "train", {"speech": "mistyped"}):
        raise CorpusError("no such folder")
    with claim(out, "train", {"speech": "right"}) as resumed:
        assert not resumed
        (out / "recipe.yaml").write_text("")
    with pytest.raises(CorpusError), claim(out, "train", {"speech": "right"}):
        raise CorpusError("gone meanwhile")
    with claim(out, "train", {"speech": "right"}) as resumed:
        assert resumed
