import os
import re
import threading
from types import SimpleNamespace

import pytest

from voxanchor import runtime
from voxanchor.runtime import log_line, track


def test_a_log_gets_lines_with_an_estimate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runtime, "LOG_INTERVAL_S", 0.0)
    monkeypatch.setattr(runtime, "QUIET_BELOW_S", 0.0)
    with track("job", 6) as advance:
        for _ in range(6):
            advance(1)
    found = capsys.readouterr()
    lines = found.err.splitlines()
    assert found.out == ""
    for line in lines[:3]:
        assert re.fullmatch(r"job: \d of 6, \d+ s gone", line)
    assert re.fullmatch(r"job: 4 of 6, \d+ s gone, about \d+ s left", lines[3])
    assert re.fullmatch(r"job: 6 of 6 in \d+ s", lines[-1])


def test_neither_the_first_item_nor_what_was_done_before_counts_in_an_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def at(*moments: float) -> None:
        monkeypatch.setattr("voxanchor.runtime.time", SimpleNamespace(monotonic=iter(moments).__next__))

    # an hour in the first item (a library is loaded, a network compiled), then a minute each
    at(0, 0, *(3600 + 60 * i for i in range(6)))
    with track("job", 105) as advance:
        advance(0)
        for _ in range(5):
            advance(1)
    assert "5 of 105, 64 min 00 s gone, about 100 min 00 s left" in capsys.readouterr().err
    at(0, 0, *(60 * i for i in range(1, 7)))
    with track("resumed", 1010) as advance:
        advance(1000)
        for _ in range(5):
            advance(1)
    assert "1005 of 1010, 5 min 00 s gone, about 5 min 00 s left" in capsys.readouterr().err


def test_a_short_job_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with track("job", 2) as advance:
        advance(2)
    assert capsys.readouterr().err == ""


def test_every_thread_may_advance(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runtime, "QUIET_BELOW_S", 0.0)
    with track("job", 400) as advance:
        threads = [threading.Thread(target=lambda: [advance(1) for _ in range(100)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "400 of 400" in capsys.readouterr().err


def test_a_terminal_shows_nested_jobs_in_one_display(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with track("outer", 2) as outer, track("inner", 9) as inner:
        for _ in range(9):
            inner(1)
        outer(1)
        log_line("a word in between")
    assert "a word in between" in capsys.readouterr().err
    assert runtime._terminal.display is None


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(runtime, "QUIET_BELOW_S", 0.0)
    with track("job", 1) as advance:
        advance(1)
    assert capsys.readouterr().err == "job: 1 of 1 in 0 s\n"


def test_a_crowded_machine_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (2.0, 0.0, 0.0))
    assert runtime.crowded() == ""
    monkeypatch.setattr("os.getloadavg", lambda: (6.25, 0.0, 0.0))
    assert "load 6.2 on 2 cores" in runtime.crowded()
    assert "OMP_NUM_THREADS=1" in runtime.crowded()


def test_a_system_that_counts_no_load_is_not_called_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (10_000.0, 0.0, 0.0))
    assert "the machine is busy (load 10000.0" in runtime.crowded()
    monkeypatch.delattr(os, "getloadavg")  # as on Windows
    assert runtime.crowded() == ""
