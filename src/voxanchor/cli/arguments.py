"""The arguments of a command: read off its signature and docstring, and turned into a call.

tyro parses. What people read is written here: help that fits the terminal, with examples that can be pasted, and one
sentence for what cannot be understood.
"""

import contextlib
import functools
import inspect
import io
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from voxanchor.config import descriptions, nearest
from voxanchor.corpus import owners
from voxanchor.errors import EnrolmentError, RecipeError
from voxanchor.runtime import console, log_line

Command = Callable[..., int]
"""A function whose parameters are the command's arguments; it returns the exit status."""


@dataclass(frozen=True)
class Group:
    """A command that is several: ``voxanchor data pack``.

    Attributes:
        about: what they are for, as a docstring has it.
        commands: by the word that follows.
    """

    about: str
    commands: dict[str, Command]


HELP = ("-h", "--help")

CONFIG = (tyro.conf.FlagCreatePairsOff,)

_WIDEST = 100
_NAMES_WIDTH = 26


@dataclass(frozen=True)
class Argument:
    """One argument of a command.

    Attributes:
        flag: ``--out``, or nothing for one that is known by its place.
        metavar: what stands for its value; nothing for a switch.
        text: what it is, in one paragraph.
        default: as the signature has it.
        required: whether the command cannot do without it.
        several: whether it may be given several times, or takes several words.
        greedy: whether it takes all words up to the next option.
        kind: int, float or str, to check a value by.
        choices: its only values, if it has but a few.
    """

    flag: str
    metavar: str
    text: str
    default: Any
    required: bool
    several: bool
    greedy: bool
    kind: type
    choices: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The argument as it stands in a usage line."""
        return f"{self.flag} {self.metavar}".strip() + " ..." * (self.greedy and not self.flag)


def arguments_of(command: Command) -> list[Argument]:
    """Return the arguments of a command, in the order of its signature."""
    hints, texts = get_type_hints(command, include_extras=True), _argument_texts(command)
    parameters = inspect.signature(command).parameters.values()
    return [_argument(one, hints[one.name], texts.get(one.name, "")) for one in parameters]


def _argument(parameter: inspect.Parameter, hint: Any, text: str) -> Argument:
    marks = getattr(hint, "__metadata__", ())
    configured = next((mark for mark in marks if hasattr(mark, "metavar")), None)
    inner, depth = get_args(hint)[0] if get_origin(hint) is Annotated else hint, 0
    while get_origin(inner) is tuple:
        inner, depth = get_args(inner)[0], depth + 1
    if type(None) in get_args(inner):
        inner = next(part for part in get_args(inner) if part is not type(None))
    choices = tuple(map(str, get_args(inner))) if get_origin(inner) is Literal else ()
    kind = inner if inner in (int, float) else str
    usual = "{" + ",".join(choices) + "}" if choices else {int: "N", float: "NUMBER"}.get(kind, "TEXT")
    name = (configured and configured.name) or parameter.name
    required = parameter.default is inspect.Parameter.empty
    return Argument(
        flag="" if Positional in marks else "--" + name.replace("_", "-"),
        metavar="" if inner is bool else (configured and configured.metavar) or usual,
        text=text,
        default=None if required else parameter.default,
        required=required,
        several=depth > 0,
        # of a flag that may be repeated each takes one word, unless what is repeated are several words
        greedy=depth > (UseAppendAction in marks),
        kind=kind,
        choices=choices,
    )


def taking(settings: type) -> Callable[[Callable[..., int]], Command]:
    """Return a decorator that gives a command the fields of a dataclass as arguments, in the place of `settings`.

    Their names, defaults and help come from the dataclass (`voxanchor.evaluation.settings`), so that none is written a
    second time. The command's parameter `settings` receives the values by the names of the fields.
    """
    hints, texts = get_type_hints(settings), descriptions(settings)
    offered = {one.metadata.get("flag", one.name): one for one in fields(settings)}
    offered.pop("", None)

    def decorate(command: Callable[..., int]) -> Command:
        own, annotations = inspect.signature(command).parameters, get_type_hints(command, include_extras=True)
        parameters: dict[str, inspect.Parameter] = {}
        for name, parameter in own.items():
            if name == "settings":
                parameters |= {flag: _parameter(flag, one, hints[one.name]) for flag, one in offered.items()}
            else:
                parameters[name] = parameter.replace(annotation=annotations[name], kind=parameter.POSITIONAL_OR_KEYWORD)
        signature = inspect.Signature(list(parameters.values()), return_annotation=int)

        @functools.wraps(command)
        def flat(*values: Any, **named: Any) -> int:
            bound = signature.bind(*values, **named)
            bound.apply_defaults()
            given = {one.name: bound.arguments.pop(flag) for flag, one in offered.items()}
            return command(**bound.arguments, settings=given)

        lines = (
            f"    {flag}: {texts[one.name]} {one.metadata.get('unset', '')}".rstrip() for flag, one in offered.items()
        )
        flat.__doc__ = "\n".join([inspect.getdoc(command) or "", *lines])
        flat.__annotations__ = {name: one.annotation for name, one in parameters.items()} | {"return": int}
        del flat.__wrapped__  # its signature and docstring would be read in the place of these
        vars(flat)["__signature__"] = signature
        return flat

    return decorate


def _parameter(name: str, field: "Field[Any]", hint: Any) -> inspect.Parameter:
    """Return a field of a dataclass as a parameter of a command."""
    left_open, metavar = "unset" in field.metadata, field.metadata.get("metavar")
    marked: Any = hint | None if left_open else hint
    if metavar:
        marked = Annotated[marked, arg(metavar=metavar)]
    if get_origin(hint) is tuple:
        marked = Annotated[marked, UseAppendAction]
    default = None if left_open else field.default
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=marked)


def usage(name: str, known: Sequence[Argument]) -> str:
    """Return how a command is called, in one line."""
    needed = [one.shown if one.required else f"[{one.shown}]" for one in known if not one.flag]
    needed += [one.shown for one in known if one.flag and one.required]
    optional = any(one.flag and not one.required for one in known)
    return " ".join(["voxanchor", name, *needed, *(["[OPTIONS]"] if optional else [])])


def explain(name: str, command: Command) -> str:
    """Return the help of a command: what it does, its arguments, and examples to paste."""
    known, paragraphs = arguments_of(command), _paragraphs(command)
    examples = [part.removeprefix("Example: ") for part in paragraphs if part.startswith("Example: ")]
    lines = [_wrapped(f"usage: {usage(name, known)}", "  ")]
    lines += [_wrapped(part) for part in paragraphs if not part.startswith("Example: ")]
    for title, group in (
        ("required", [one for one in known if one.required]),
        ("optional", [one for one in known if not one.required]),
    ):
        if group:
            lines.append("\n".join([title, *(_row(one) for one in group)]))
    lines.append("\n".join(["example" + "s" * (len(examples) > 1), *(f"  {example}" for example in examples)]))
    return "\n\n".join(lines)


def explain_group(name: str, group: Group) -> str:
    """Return the help of a command that is several: each of them in one line."""
    lines = [f"usage: voxanchor {name} COMMAND [OPTIONS]     'voxanchor {name} COMMAND --help' explains one"]
    lines += [_wrapped(part) for part in _paragraphs(group)]
    lines.append("\n".join(listed(group.commands)))
    return "\n\n".join(lines)


def listed(commands: Mapping[str, Command | Group]) -> list[str]:
    """Return a line for each command: its name, and what it does."""
    return [f"  {name:14} {summary(command)}" for name, command in commands.items()]


def summary(command: Command | Group) -> str:
    """Return what a command does in a few words."""
    return _paragraphs(command)[0].rstrip(".")


def parse(name: str, command: Command, words: Sequence[str]) -> Callable[[], int]:
    """Return the call that a command line asks for.

    Args:
        name: of the command, as it is typed.
        command: what is to be called.
        words: what stands behind the name.

    Raises:
        RecipeError: an option that the command does not have, one that it needs, or a value that is none.
    """
    check(name, arguments_of(command), words)

    @functools.wraps(command)
    def later(*values: Any, **named: Any) -> Any:
        return functools.partial(command, *values, **named)

    call: Callable[[], int] = tyro.cli(later, prog=f"voxanchor {name}", args=list(words), config=CONFIG)
    return call


def completion_script(commands: Mapping[str, Command | Group], shell: str) -> str:
    """Return the script that makes a shell complete commands and their options.

    Args:
        commands: all that there are.
        shell: bash, zsh or fish.
    """
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro.cli(_choice(commands), prog="voxanchor", args=["--tyro-write-completion", shell, "-"], config=CONFIG)
    return written.getvalue()


def _choice(commands: Mapping[str, Command | Group]) -> Any:
    """Return one of several commands as tyro knows it: a union."""
    calls = {name: _grouped(one) if isinstance(one, Group) else _in_lines(one) for name, one in commands.items()}
    parts = [Annotated[Any, tyro.conf.subcommand(name, constructor=call)] for name, call in calls.items()]
    return Union[tuple(parts)]  # noqa: UP007


def _grouped(group: Group) -> Command:
    def command(part: Any) -> int:
        return int(part)

    command.__annotations__["part"] = Annotated[_choice(group.commands), tyro.conf.OmitSubcommandPrefixes]
    return command


def _in_lines(command: Command) -> Command:
    """Return a command that says what it and each of its arguments is in one line: shells complete line by line."""

    @functools.wraps(command)
    def same(*values: Any, **named: Any) -> int:
        return command(*values, **named)

    texts = (f"    {name}: {text}" for name, text in _argument_texts(command).items())
    same.__doc__ = "\n".join([summary(command), "", "Args:", *texts])
    del same.__wrapped__  # tyro would read the docstring there
    vars(same)["__signature__"] = inspect.signature(command)
    return same


def check(name: str, known: Sequence[Argument], words: Sequence[str]) -> None:
    """Raise for what people mistype, in one sentence; what is left is for tyro to judge.

    Raises:
        RecipeError: an unknown option (with the nearest), a missing or unsuitable value, a word too many.
    """
    options, positional = {one.flag: one for one in known if one.flag}, [one for one in known if not one.flag]
    given, places, rest = set(), [], list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            places += rest
            break
        if not _is_option(word):
            places.append(word)
            continue
        flag, equals, value = word.partition("=")
        flag = flag[:2] + flag[2:].replace("_", "-")
        if flag not in options:
            raise RecipeError(f"{name} has no option {flag}. {_hint(name, flag, list(options))}")
        given.add(flag)
        values = [value] if equals else _taken(options[flag], rest)
        if bool(values) != bool(options[flag].metavar):
            needs = f"needs a value, {options[flag].shown}" if options[flag].metavar else "takes no value"
            raise RecipeError(f"{name}: {flag} {needs}")
        _check_value(name, options[flag], values)
    missing = [one.shown for one in positional[len(places) :] if one.required]
    missing += [one.shown for one in known if one.required and one.flag and one.flag not in given]
    if missing:
        raise RecipeError(f"{name} needs {' and '.join(missing)}; usage: {usage(name, known)}")
    if len(places) > len(positional) and not any(one.greedy for one in positional):
        extra = places[len(positional)]
        raise RecipeError(f"{name}: '{extra}' is one word too many (a name with spaces needs quotes)")
    for one, place in zip(positional, places, strict=False):
        _check_value(name, one, [place])


def _taken(option: Argument, rest: list[str]) -> list[str]:
    """Take from `rest` the words that belong to an option."""
    taken: list[str] = []
    while option.metavar and rest and not _is_option(rest[0]) and (option.greedy or not taken):
        taken.append(rest.pop(0))
    return taken


def _check_value(name: str, argument: Argument, values: Sequence[str]) -> None:
    where = f"{name}: {argument.flag}".rstrip(": ") + (" " if argument.flag else ": ")
    for value in values:
        if argument.choices and value not in argument.choices:
            raise RecipeError(f"{where}{value} is not a choice. {nearest(value, argument.choices)}")
        try:
            argument.kind(value)
        except ValueError:
            what = "a whole number" if argument.kind is int else "a number"
            raise RecipeError(f"{where}is {what}, not '{value}'") from None


def _hint(name: str, flag: str, options: list[str]) -> str:
    near = nearest(flag, options)
    return near.replace("'", "") if near.startswith("Did") else f"'voxanchor {name} --help' lists them."


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not word[1].isdigit() and word[1] != "."


def _row(one: Argument) -> str:
    notes = []
    if one.several and one.flag:
        notes.append("may be repeated")
    if not one.required and one.default not in (None, "", (), False):
        notes.append(f"default {one.default:g}" if one.kind is float else f"default {one.default}")
    text = one.text.rstrip(".") + (f" ({', '.join(notes)})" if notes else "")
    body = textwrap.wrap(text, _width() - _NAMES_WIDTH, break_long_words=False, break_on_hyphens=False)
    shown = f"  {one.shown}"
    if len(shown) > _NAMES_WIDTH - 2 or not body:
        body = ["", *body]
    lines = [shown.ljust(_NAMES_WIDTH) + body[0], *(" " * _NAMES_WIDTH + line for line in body[1:])]
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _width() -> int:
    return max(60, min(_WIDEST, shutil.get_terminal_size().columns))


def _paragraphs(command: Command | Group) -> list[str]:
    text = command.about if isinstance(command, Group) else inspect.getdoc(command) or ""
    text = text.partition("\nArgs:\n")[0]
    return [_joined(part) for part in re.split(r"\n\s*\n", text.strip())]


def _argument_texts(command: Command) -> dict[str, str]:
    text = (inspect.getdoc(command) or "").partition("\nArgs:\n")[2]
    return {name: _joined(said) for name, said in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)}


def _joined(text: str) -> str:
    return " ".join(text.replace("``", "").replace("`", "'").split())


# What commands share: flags, and how results are printed.

Model = Annotated[str, arg(metavar="MODEL")]
Models = UseAppendAction[Annotated[tuple[str, ...], arg(metavar="MODEL")]]
Recipe = Annotated[str, arg(metavar="RECIPE")]
Recording = Annotated[str, arg(metavar="RECORDING")]
Recordings = Annotated[tuple[str, ...], arg(metavar="RECORDING")]
Name = Annotated[str, arg(metavar="NAME")]
Folder = Annotated[str, arg(metavar="DIR")]
Folders = UseAppendAction[Annotated[tuple[str, ...], arg(metavar="DIR")]]
OutFolders = UseAppendAction[Annotated[tuple[Path, ...], arg(metavar="DIR")]]
OutFolder = Annotated[Path, arg(metavar="DIR")]
SomeFolder = Annotated[Path | None, arg(metavar="DIR")]
File = Annotated[Path, arg(metavar="FILE")]
SomeFile = Annotated[Path | None, arg(metavar="FILE")]
Trials = Annotated[str, arg(metavar="FILE")]
Suite = Annotated[str, arg(metavar="SUITE")]
Layout = Annotated[owners.Layout, arg(metavar="LAYOUT")]
Store = Annotated[str, arg(metavar="STORE")]
Device = Annotated[str, arg(metavar="DEVICE")]
Seconds = Annotated[float, arg(metavar="SECONDS")]
SomeSeconds = Annotated[float | None, arg(metavar="SECONDS")]
Share = Annotated[float, arg(metavar="SHARE")]
Probability = Annotated[float, arg(metavar="PROBABILITY")]
Percent = Annotated[float | None, arg(metavar="PERCENT")]

Settings = UseAppendAction[Annotated[tuple[tuple[str, ...], ...], arg(name="set", metavar="KEY=VALUE ...")]]
"""Several after one flag, or several flags: all of them count."""
Json = Annotated[bool, arg(help="print the result as JSON on standard output")]


KEY_VARIABLE = "VOXANCHOR_STORE_KEY"
"""Environment variable that holds a store's key as text, where no file with one is given."""


def report(folder: Path, as_json: bool) -> int:
    """Print the error rates of a finished job, or its summary as JSON; return the exit status."""
    summary_path = folder / "summary.json"
    if not summary_path.exists():
        print(f"done: {folder}")
        return 0
    summary: dict[str, dict[str, Any]] = json.loads(summary_path.read_text(encoding="utf-8"))
    if as_json:
        print_json(summary)
        return 0
    from rich.table import Table

    averages = ("avg15", "avg16") if any("avg15" in entry for entry in summary.values()) else ("avg_noisy", "avg_all")
    columns = [name for name in ("clean", *averages) if any(name in entry for entry in summary.values())]
    table = Table(title="EER in %", title_justify="left")
    table.add_column("system")
    for column in columns:
        table.add_column(column, justify="right")
    for name, entry in summary.items():
        table.add_row(name, *(f"{entry[column]:.2f}" if column in entry else "" for column in columns))
    screen = console()
    screen.print(table)
    for line in _note(folder).splitlines():
        screen.print(line, markup=False, highlight=False)
    if (folder / "report.html").exists():  # not without Jinja2
        screen.print(f"report: {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return 0


def loading(*what: str, job: bool = True) -> None:
    """Say that models or a recipe are being loaded: torch and weights take seconds, on a busy machine many.

    Args:
        what: as it was given.
        job: whether it is a job that writes lines on its way; what only answers says it to a terminal alone.
    """
    if job or sys.stderr.isatty():
        log_line(f"loading {' and '.join(what)} ...")


def _note(folder: Path) -> str:
    """Return what the recipe of a run says that a reader has to know of its figures; nothing where it says nothing."""
    path = folder / "recipe.yaml"
    if not path.exists():
        return ""
    import yaml

    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    return str((recipe.get("evaluation") or {}).get("note") or "")


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=2))


def flat(settings: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return the settings of all ``--set`` flags in one row."""
    return tuple(setting for group in settings for setting in group)


def existing_store(place: str) -> str:
    """Return the place of a store where there is one: a mistyped name must not make an empty one.

    Raises:
        EnrolmentError: there is no such file.
    """
    if "://" not in place and not Path(place).exists():
        raise EnrolmentError(f"{place}: no such store. voxanchor enroll makes one.")
    return place


@contextlib.contextmanager
def no_empty_store(place: str) -> Iterator[None]:
    """Remove a store that was made meanwhile, where the command fails: a mistyped first try must leave none behind.

    A store is made with a key or without, and stays so. One that somebody else has open, or put people into, stays.
    """
    from voxanchor.enrolments.sqlite import remove_empty

    path = Path(place)
    new = "://" not in place and place != ":memory:" and not path.exists()
    try:
        yield
    except BaseException:  # Ctrl-C, too
        if new and path.exists():
            remove_empty(path)
        raise


def store_key(path: Path | None) -> str | None:
    """Return the key of a store: the path of its file, or what the environment variable holds, or nothing.

    Raises:
        EnrolmentError: there is no such file.
    """
    return key_file(path) or os.environ.get(KEY_VARIABLE) or None


def key_file(path: Path | None) -> str | None:
    """Return the path of a file with a key as text, and nothing as nothing.

    Raises:
        EnrolmentError: there is no such file. A key itself is not taken: every user of the machine sees commands.
    """
    if path is not None and not path.is_file():
        raise EnrolmentError(
            "the file given for a key does not exist. Give the path of one; voxanchor people key --out FILE makes one."
        )
    return None if path is None else str(path)
