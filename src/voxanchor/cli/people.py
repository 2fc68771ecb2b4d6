"""The commands about the people in a store: who is there, in and out, and what was decided about them."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from voxanchor.cli.arguments import Group
from voxanchor.cli.shared import (
    Device,
    File,
    Json,
    Model,
    Name,
    SomeFile,
    Store,
    existing_store,
    key_file,
    loading,
    no_empty_store,
    print_json,
    store_key,
)
from voxanchor.errors import RecipeError
from voxanchor.progress import counted

if TYPE_CHECKING:
    from voxanchor.enrolments.store import Store as People


def everybody(store: Store, key: SomeFile = None, json: Json = False) -> int:
    """List everybody who is enrolled.

    Example: voxanchor people list --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        json: print the list as JSON.
    """
    with _opened(store, key) as opened:
        found = opened.people()
    if json:
        print_json([asdict(person) for person in found])
        return 0
    for person in found:
        recordings = f"{person.recordings} recording{'s' * (person.recordings > 1)}"
        print(
            f"{person.name}  {recordings}, last {person.updated[:10]}, "
            f"model{'s' * (len(person.models) > 1)} {', '.join(person.models)}"
        )
    print(f"{len(found)} {'person' if len(found) == 1 else 'people'}")
    return 0


def show(name: Positional[Name], store: Store, key: SomeFile = None, json: Json = False) -> int:
    """List a person's recordings, their quality and their model.

    Example: voxanchor people show "Ada Lovelace" --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        name: the person.
        json: print the list as JSON.
    """
    with _opened(store, key) as opened:
        found = opened.enrolments(name)
    if json:
        print_json([asdict(enrolment) for enrolment in found])
        return 0
    for item in found:
        by = f" by {item.by}" if item.by else ""
        audio = ", audio kept" if item.keeps_audio else ""
        source = f"{item.source}: " if item.source else ""
        print(
            f"{item.created[:19]}{by}  {source}{item.speech_s:.1f} s, {item.snr_db:.0f} dB, model {item.model}{audio}"
        )
    return 0


def delete(name: Positional[Name], store: Store, key: SomeFile = None) -> int:
    """Delete a person for good.

    Voiceprint and audio are gone from the file, and the name from the log.

    Example: voxanchor people delete "Ada Lovelace" --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        name: the person.
    """
    with _opened(store, key) as opened:
        count = opened.delete(name)
    print(f"{name}: {count} recording{'s' * (count > 1)} deleted")
    return 0


def export(out: File, store: Store, key: SomeFile = None, out_key: SomeFile = None) -> int:
    """Write everybody to one file that another store can import.

    The file is in clear unless --out-key is given.

    Example: voxanchor people export --out people.export --store people.db --out-key key

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        out: the file.
        out_key: file with a key to encrypt it with.
    """
    with _opened(store, key) as opened:
        count = opened.export_to(out, key_file(out_key))
    print(f"{counted(count, 'recording')} written to {out}" + ("" if out_key else ", in clear"))
    return 0


def import_people(file: Positional[File], store: Store, key: SomeFile = None, file_key: SomeFile = None) -> int:
    """Add everybody in a file that export wrote: all or none.

    Example: voxanchor people import people.export --store other.db --file-key key

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        file: what export wrote.
        file_key: file with the key that it was encrypted with.
    """
    with no_empty_store(store), _opened(store, key, new=True) as opened:
        found = opened.import_from(file, key_file(file_key))
    print(f"{counted(found.recordings, 'recording')} added, {found.skipped:,} there already")
    return 0


def backup(out: File, store: Store) -> int:
    """Copy a store to a new file while others may have it open.

    An encrypted store stays so, and needs no key.

    Example: voxanchor people backup --store people.db --out backup.db

    Args:
        out: the file; an existing one is never replaced.
        store: an SQLite file. Of a database with pgvector pg_dump makes a copy.
    """
    from voxanchor.enrolments.connection import back_up

    if "://" in store:
        raise RecipeError("people backup: copies an SQLite file. Of a PostgreSQL database pg_dump makes a copy")
    count = back_up(Path(existing_store(store)), out)
    print(f"{count} recording{'s' * (count != 1)} in {out}")
    return 0


def upgrade(model: Model, store: Store, key: SomeFile = None) -> int:
    """Carry voiceprints of an old model over to its robust copy.

    Nobody has to be recorded again; docs/compatibility.md says what that gains and what it costs.

    Example: voxanchor people upgrade --model runs/robust --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        model: the directory of the new model.
    """
    from voxanchor.models.enrolment_map import EnrolmentMap

    carrier = EnrolmentMap.load(model)
    with _opened(store, key) as opened:
        count = opened.carry(carrier.old, carrier.new, carrier.apply)
    print(f"{counted(count, 'recording')} of the model {carrier.old} carried over to {carrier.new}")
    return 0


def reembed(model: Model, store: Store, key: SomeFile = None, device: Device = "auto", json: Json = False) -> int:
    """Embed kept audio anew, with another model.

    People whose audio was not kept stay as they are, and are listed.

    Example: voxanchor people reembed --model runs/new --store people.db

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        model: the new model; `voxanchor models` lists what it may be.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print what was done.
    """
    loading(model)
    import voxanchor
    from voxanchor.verification.reembedding import reembed as job

    with voxanchor.load(model, store=existing_store(store), key=store_key(key), device=device) as verifier:
        found = job(verifier)
    if json:
        print_json(asdict(found))
        return 0
    print(f"{counted(found.done, 'recording')} embedded anew")
    if found.without_audio:
        print(f"without audio, so they have to enrol again: {', '.join(found.without_audio)}")
    for name, reason in found.failed:
        print(f"{name}: {reason}")
    return 0


def log(store: Store, key: SomeFile = None, name: Name = "", limit: int = 20, json: Json = False) -> int:
    """Print what was decided lately, newest first.

    Example: voxanchor people log --store people.db --name "Ada Lovelace"

    Args:
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        name: decisions about this person alone.
        limit: how many to print.
        json: print the list as JSON.
    """
    with _opened(store, key) as opened:
        found = opened.decisions(name or None, limit)
    if json:
        print_json([asdict(decision) for decision in found])
        return 0
    for item in found:
        number = f" llr {item.llr:.2f}" if item.llr is not None else ""
        asked = f" asked by {item.by}" if item.by else ""
        print(f"{item.at[:19]}  {item.kind}  {item.person or '-'}  {item.decision}{number}{asked}")
    return 0


def key(out: File) -> int:
    """Make a key to encrypt a store with.

    Keep it apart from the store: without it nobody reads the voiceprints.

    Example: voxanchor people key --out people.key

    Args:
        out: file to write, for its owner alone; an existing one is never replaced.
    """
    from voxanchor.enrolments.sealing import new_key
    from voxanchor.files import write_private

    write_private(out, f"{new_key()}\n".encode("ascii"), new=True)
    print(f"key written to {out}")
    return 0


def _opened(store: Store, key: SomeFile, new: bool = False) -> "People":
    from voxanchor.enrolments.store import open_store

    return open_store(store if new else existing_store(store), store_key(key))


GROUP = Group(
    """List, show, delete, back up, export or import who is enrolled.

    Voiceprints are biometric data: give a key when the store is made, and delete who no longer needs to be there. Exit
    status: 10 when nobody of that name is enrolled, or the store cannot be opened.
    """,
    {
        "list": everybody,
        "show": show,
        "delete": delete,
        "export": export,
        "import": import_people,
        "backup": backup,
        "upgrade": upgrade,
        "reembed": reembed,
        "log": log,
        "key": key,
    },
)
