"""Embeddings kept on disk by what they are a pure function of: model, recordings, condition, noise and seed."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from voxanchor.config import fingerprint
from voxanchor.files import write_bytes
from voxanchor.types import Embeddings

FORMAT = 1


class EmbeddingCache:
    """A folder of embeddings; an interrupted evaluation finds there what it had finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, *key: str | int) -> Embeddings | None:
        """Return the (N, D) embeddings stored under `key`, or None; a damaged file counts as none."""
        try:
            return np.asarray(load_file(self._path(key))["embeddings"])
        except (OSError, SafetensorError, KeyError):
            return None

    def put(self, embeddings: Embeddings, *key: str | int) -> None:
        """Store (N, D) embeddings under `key`."""
        write_bytes(self._path(key), save({"embeddings": embeddings}, {"key": " ".join(map(str, key))}))

    def _path(self, key: tuple[str | int, ...]) -> Path:
        return self.folder / f"{fingerprint(FORMAT, list(key))}.safetensors"
