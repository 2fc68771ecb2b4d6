from dataclasses import fields, replace
from pathlib import Path

import pytest

from voxanchor.errors import CorpusError
from voxanchor.evaluation.results import GeometryRow, ResultRow, read_csv, write_csv

ROW = ResultRow(
    'a, "b"', "clean-enrol", "noise", "babble_5db", "babble", 5.0, 1, 100, 10, 1 / 3, 0.1, 0.7, 0.3, 0.2, None, 0.1
)
CLEAN = replace(ROW, condition="clean", noise="", snr_db=None, eer_low=None, eer_high=None, cllr=1.5, min_cllr=None)
GEOMETRY = GeometryRow("a", "noise", "clean", "", None, 0, 5, 20, 0.8, 0.1, 0.3, float("inf"), 0.0)


def test_the_header_is_the_schema(tmp_path: Path) -> None:
    write_csv(tmp_path / "results.csv", [ROW])
    header = (tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == (
        "system,protocol,suite,condition,noise,snr_db,noise_seed,trials,targets,eer,eer_low,eer_high,"
        "min_dcf_p01,min_dcf_p05,cllr,min_cllr"
    )
    assert [field.name for field in fields(GeometryRow)][:6] == header.replace("protocol,", "").split(",")[:6]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_csv(tmp_path / "new" / "results.csv", [ROW, CLEAN])
    assert read_csv(tmp_path / "new" / "results.csv", ResultRow) == (ROW, CLEAN)
    assert ",,," in (tmp_path / "new" / "results.csv").read_text(encoding="utf-8")
    write_csv(tmp_path / "geometry.csv", [GEOMETRY])
    assert read_csv(tmp_path / "geometry.csv", GeometryRow) == (GEOMETRY,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["geometry.csv", "new"]


def test_a_failed_write_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    write_csv(path, [ROW])
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("voxanchor.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_csv(path, [CLEAN])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_broken_tables_are_named(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with pytest.raises(CorpusError, match="Cannot read"):
        read_csv(path, ResultRow)
    write_csv(path, [ROW])
    with pytest.raises(CorpusError, match="no GeometryRow table"):
        read_csv(path, GeometryRow)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(",100,", ",many,"), encoding="utf-8")
    with pytest.raises(CorpusError, match="line 2: 'many' does not fit the column 'trials'"):
        read_csv(path, ResultRow)
    path.write_text(text.rsplit(",", 3)[0] + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="does not fit"):
        read_csv(path, ResultRow)
    with pytest.raises(ValueError, match="at least one row"):
        write_csv(path, [])
