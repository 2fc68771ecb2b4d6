"""The packages that the service needs and the rest of the program does not."""

from importlib import import_module

from voxanchor.errors import MissingExtraError

PACKAGES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python-multipart": "python_multipart",
    "prometheus-client": "prometheus_client",
}
"""Distribution and module."""


def refuse_missing() -> None:
    """Do nothing where all of them are installed.

    Raises:
        MissingExtraError: one is not.
    """
    for package, module in PACKAGES.items():
        try:
            import_module(module)
        except ImportError:
            raise MissingExtraError(package, "the service", "pip install 'voxanchor[serve]'") from None
