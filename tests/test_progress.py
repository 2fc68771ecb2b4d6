import re
import threading

import pytest

from voxanchor import progress
from voxanchor.progress import say, track


def test_a_log_gets_lines_with_an_estimate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.0)
    monkeypatch.setattr(progress, "QUIET_BELOW_S", 0.0)
    with track("job", 4) as advance:
        advance(1)
        advance(3)
    found = capsys.readouterr()
    lines = found.err.splitlines()
    assert found.out == ""
    assert re.fullmatch(r"job: 1 of 4, \d+ s gone, about \d+ s left", lines[0])
    assert re.fullmatch(r"job: 4 of 4 in \d+ s", lines[-1])


def test_a_short_job_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with track("job", 2) as advance:
        advance(2)
    assert capsys.readouterr().err == ""


def test_every_thread_may_advance(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "QUIET_BELOW_S", 0.0)
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
    with track("outer", 2) as outer, track("inner", 3) as inner:
        inner(3)
        outer(1)
        say("a word in between")
    assert "a word in between" in capsys.readouterr().err
    assert progress._terminal.display is None
