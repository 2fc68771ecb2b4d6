"""The packages that a job may need and an installation may lack, and how to get them."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

from voxanchor.errors import MissingExtraError


class Package(NamedTuple):
    """How an optional package is installed.

    Attributes:
        distribution: its name for pip.
        extra: of this program; empty for torch and Jinja2, which every installation by pip brings.
        beside_torch: whether it is of use only where torch is installed, too.
    """

    distribution: str
    extra: str
    beside_torch: bool = False


PACKAGES = {
    "torch": Package("torch", ""),
    "jinja2": Package("Jinja2", ""),
    "lightning_fabric": Package("lightning-fabric", "train", beside_torch=True),
    "matplotlib": Package("matplotlib", "report"),
    "sklearn": Package("scikit-learn", "report"),
    "espeakng_loader": Package("espeakng-loader", "synthetic"),
    "onnx": Package("onnx", "onnx", beside_torch=True),
    "onnxscript": Package("onnxscript", "onnx", beside_torch=True),
    "onnxruntime": Package("onnxruntime", "onnx"),
    "av": Package("av", "m4a"),
    "cryptography": Package("cryptography", "encryption"),
    "psycopg": Package("'psycopg[binary,pool]'", "postgres"),
    "psycopg_pool": Package("psycopg_pool", "postgres"),
    "pgvector": Package("pgvector", "postgres"),
    "fastapi": Package("fastapi", "serve"),
    "uvicorn": Package("uvicorn", "serve"),
    "python_multipart": Package("python-multipart", "serve"),
    "prometheus_client": Package("prometheus-client", "serve"),
    "transformers": Package("transformers", "transformers", beside_torch=True),
}
"""By the name they are imported under."""


def is_installed(module: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # marked as absent
        return False


_pending: list[tuple[dict[str, Any], str, str]] = []


class _Lazy(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        settle()
        return getattr(import_module(self.__name__), name)


def lazily(module: str, namespace: dict[str, Any], name: str) -> Any:
    """Return a module that is imported on first use, or the module itself where it is imported already.

    One recording is worked on without torch, so that a device which runs exported models needs none; batches are made
    by it, in the same files. Static checkers see the real module behind ``if TYPE_CHECKING``.

    Args:
        module: its whole name.
        namespace: ``globals()`` of the importing module.
        name: under which the module will stand there.
    """
    if module in sys.modules:
        return sys.modules[module]
    _pending.append((namespace, name, module))
    return _Lazy(module)


def settle() -> None:
    """Import all modules that were put off, and put them where they belong: a compiler sees through no stand-in."""
    while _pending:
        namespace, name, module = _pending.pop()
        namespace[name] = import_module(module)


def install_line(module: str) -> str:
    """Return the command that installs a package with what its extra needs besides.

    Where torch is not installed the packages are named one by one: an extra would bring torch with it, and a device
    that runs exported files does without.
    """
    package = PACKAGES[module]
    if not package.extra:
        return f"pip install {package.distribution}"
    if package.beside_torch or is_installed("torch"):
        return f"pip install 'voxanchor[{package.extra}]'"
    alike = [other.distribution for other in PACKAGES.values() if other.extra == package.extra]
    needless = [other.distribution for other in PACKAGES.values() if other.beside_torch]
    return f"pip install {' '.join(name for name in alike if name not in needless)}"


def missing(module: str, purpose: str) -> MissingExtraError:
    """Return the error for a package that is absent: what for, and how to install it."""
    return MissingExtraError(PACKAGES[module].distribution.strip("'").partition("[")[0], purpose, install_line(module))


def require(modules: Sequence[str], purpose: str) -> None:
    """Check that all packages can be imported.

    Raises:
        MissingExtraError: one cannot.
    """
    for module in modules:
        if not is_installed(module):
            raise missing(module, purpose)


def missing_in(error: ImportError, purpose: str) -> MissingExtraError | None:
    """Return the error that a failed import amounts to; None where it is of another package, or one that is there."""
    module = (error.name or "").partition(".")[0]
    return missing(module, purpose) if module in PACKAGES and not is_installed(module) else None
