"""The log of decisions: who was found or refused, by which model, against which threshold."""

import re

from voxanchor.enrolments.checks import moment, now, person_name, plain
from voxanchor.enrolments.database import Session
from voxanchor.enrolments.records import Decision

DELETED = "(deleted)"
"""What stands in a reason where the name of a deleted person stood."""

_COLUMNS = "person, kind, decision, score, llr, threshold, model, reason, made_by, at"


def log(session: Session, decision: Decision) -> None:
    """Write one line.

    Raises:
        EnrolmentError: a name that no person has, or a time that is none.
    """
    session.rows(
        f"INSERT INTO decision ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        None if decision.person is None else person_name(decision.person),
        decision.kind,
        plain(decision.decision),
        _number(decision.score),
        _number(decision.llr),
        _number(decision.threshold),
        plain(decision.model),
        plain(decision.reason),
        plain(decision.by),
        moment(decision.at) if decision.at else now(),
    )


def decisions(session: Session, person: str | None, limit: int) -> list[Decision]:
    """Return the latest lines, newest first; of one person where one is named."""
    where, values = ("WHERE person = ?", [person]) if person is not None else ("", [])
    rows = session.rows(f"SELECT {_COLUMNS} FROM decision {where} ORDER BY id DESC LIMIT ?", *values, limit)
    return [Decision(*row) for row in rows]


def forget(session: Session, person: str) -> None:
    """Take a person's name out of every line: as the person, in reasons, and as the one who asked."""
    session.rows("UPDATE decision SET person = NULL WHERE person = ?", person)
    session.rows("UPDATE decision SET made_by = '' WHERE made_by = ?", person)
    whole_word = re.compile(rf"(?<!\w){re.escape(person)}(?!\w)")
    for number, reason in session.rows(
        "SELECT id, reason FROM decision WHERE replace(reason, ?, '') <> reason", person
    ):
        session.rows("UPDATE decision SET reason = ? WHERE id = ?", whole_word.sub(DELETED, reason), number)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
