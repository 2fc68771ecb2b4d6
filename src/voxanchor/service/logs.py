"""The service's log: one JSON object a line, without anything of a voice or a person in it."""

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

LOGGER = logging.getLogger("voxanchor.service")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, message, and the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Of an exception its type alone: messages may name files or people."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line)  # in ASCII: a stream that is not UTF-8 would write escapes that JSON does not have


def write_to(stream: TextIO | None = None) -> None:
    """Send the log of this process's services, and of the libraries they run on, to a stream: by default stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    # the parser of forms says what is wrong with one, which is answered
    levels = (
        (LOGGER.name, logging.INFO),
        ("uvicorn", logging.WARNING),
        ("psycopg", logging.WARNING),
        ("python_multipart", logging.ERROR),
    )
    for name, level in levels:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


@contextlib.contextmanager
def alone_on_stderr() -> Iterator[TextIO]:
    """Give a stream to standard error for the log, and make lines of the log of whatever else is printed there.

    Libraries in C print past Python, as the decoder of MP3 does of a file that it finds odd, and that would be no JSON.
    """
    try:
        number = sys.stderr.fileno()
        kept = os.dup(number)
    except (AttributeError, OSError, ValueError):  # closed, or no file
        yield sys.stderr
        return
    reading, writing = os.pipe()
    os.dup2(writing, number)
    os.close(writing)
    with os.fdopen(kept, "w", encoding="ascii", buffering=1) as stream:
        relay = threading.Thread(target=_relay, args=(reading,), daemon=True)
        relay.start()
        try:
            yield stream
        finally:
            sys.stderr.flush()
            os.dup2(kept, number)  # nobody writes to the pipe then, which ends the thread
            relay.join(1.0)
            write_to(sys.stderr)


def _relay(reading: int) -> None:
    with os.fdopen(reading, encoding="utf-8", errors="backslashreplace") as printed:
        for line in printed:
            LOGGER.warning("printed", extra={"fields": {"text": line.rstrip()}})


def place_of(error: BaseException) -> str:
    """Return where in the code an exception arose, and its type: what the log may say of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
    return f"{type(error).__name__}{where}"
