"""Every error a user can meet, each with the exit status the command line ends with.

A message says what was wrong, where, and what to do about it.
"""


class VoxanchorError(Exception):
    """Base of all errors that are about the user's input rather than a defect of the program."""

    exit_code = 1


class RecipeError(VoxanchorError):
    """A recipe, flag or suite that cannot be understood: unknown key, wrong type, impossible value."""

    exit_code = 2


class AudioError(VoxanchorError):
    """One recording that cannot be used: missing, unreadable, empty, not finite, silent, too short."""

    exit_code = 3

    @classmethod
    def of(cls, path: object, error: Exception) -> "AudioError":
        """Return what any error of a decoder, a library or the file system means for a recording."""
        if isinstance(error, AudioError):
            return error
        if isinstance(error, MemoryError):
            reason = "it takes more memory than there is"
        elif isinstance(error, OSError):
            reason = error.strerror or str(error)
        else:
            reason = f"{type(error).__name__}: {error}"
        return cls(f"{path}: cannot be read ({reason})")


class TooLongError(AudioError):
    """A recording that lasts longer than it may."""

    @classmethod
    def beyond(cls, name: str, seconds: float | None, longest_s: float) -> "TooLongError":
        """Return the error for a recording called `name` of so many seconds, or None where nobody knows how many."""
        lasts = "more than" if seconds is None else f"{seconds:.0f} s, more than"
        allow = "--longest-s (longest_s in Python, --max-duration-s for a service)"
        return cls(f"{name}: lasts {lasts} the {longest_s:g} s allowed. Cut it, or allow more with {allow}.")


class CorpusError(VoxanchorError):
    """A folder, trial list or set of recordings that cannot serve the purpose it was given for."""

    exit_code = 3


class ModelError(VoxanchorError):
    """A model reference or model directory that cannot be loaded, or does not fit its use."""

    exit_code = 4


class OutputError(VoxanchorError):
    """An output that cannot be written: of another run, in use, on a disk that is full or fails, not permitted."""

    exit_code = 5


class MissingExtraError(VoxanchorError):
    """An optional package that this job needs and that is not installed."""

    exit_code = 6

    def __init__(self, package: str, purpose: str, install: str) -> None:
        super().__init__(package, purpose, install)  # as they came: a worker process sends its errors pickled
        self.package = package

    def __str__(self) -> str:
        package, purpose, install = self.args
        return f"{purpose} needs the package '{package}', which is not installed. Install it with: {install}"


class TrainingError(VoxanchorError):
    """Training that cannot go on: a process that was lost, a state that cannot be read."""

    exit_code = 7


class DivergedError(TrainingError):
    """A loss, gradient or embedding that is not finite."""


class ForgettingError(VoxanchorError):
    """A model that came out worse than the one it was made from, and was not written."""

    exit_code = 9


class EnrolmentError(VoxanchorError):
    """A store that cannot be opened or used, and all that is wrong with people in it."""

    exit_code = 10


class UnknownPersonError(EnrolmentError):
    """Nobody of that name is enrolled."""


class OtherModelError(EnrolmentError):
    """Enrolled by models alone that the one in use must not be compared with."""


class TracesLeftError(EnrolmentError):
    """Everything of a person is deleted, but the store's files could not be cleaned of it now."""


class DownloadError(VoxanchorError):
    """A file that could not be fetched: no network, another content than its publisher says, an unsafe archive."""
