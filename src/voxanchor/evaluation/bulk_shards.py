"""One shard of a bulk embedding job: the rows of one window of the manifest, and why some have none.

A shard is one file that appears whole or not at all, and it says everything about its window. So a window is done when
its shard lies there, and nothing else needs to be kept in step with it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from voxanchor.errors import CorpusError
from voxanchor.files import write_bytes
from voxanchor.types import Embeddings

FORMAT = "voxanchor-embeddings-shard-1"
METADATA_KEY = "voxanchor"
"""All metadata is one JSON text: safetensors writes several entries in an order that changes from run to run."""


@dataclass(frozen=True)
class Failure:
    """A recording without an embedding: its id (the path of one that never became an utterance), and the reason."""

    id: str
    reason: str


@dataclass(frozen=True)
class Shard:
    """Embeddings of the recordings of a window, in its order.

    Attributes:
        ids: utterance ids, n of them.
        speakers: speaker of each; an empty name where it is not known.
        embeddings: (n, D) float32 unit vectors.
        failures: the other recordings of the window.
    """

    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    embeddings: Embeddings
    failures: tuple[Failure, ...]

    def save(self, path: Path, model: Mapping[str, str]) -> None:
        """Write the shard as safetensors.

        Args:
            path: of the file.
            model: what the rows were made with, for a reader to compare.

        Raises:
            OutputError: the file cannot be written.
        """
        described = {
            "format": FORMAT,
            **model,
            "ids": self.ids,
            "speakers": self.speakers,
            "failures": [asdict(failure) for failure in self.failures],
        }
        write_bytes(path, save({"embeddings": self.embeddings}, {METADATA_KEY: json.dumps(described)}))


@dataclass(frozen=True)
class Summary:
    """What a shard holds: its number of rows, and the failures of its window."""

    rows: int
    failures: tuple[Failure, ...]

    @classmethod
    def read(cls, path: Path) -> "Summary":
        """Return the summary of a shard; the embeddings stay on disk.

        Raises:
            CorpusError: the file is missing, damaged or no shard.
        """
        try:
            with safe_open(path, "numpy") as file:
                described: dict[str, Any] = json.loads((file.metadata() or {})[METADATA_KEY])
                rows, _ = file.get_slice("embeddings").get_shape()
            if described["format"] != FORMAT or len(described["ids"]) != rows:
                raise ValueError(f"{rows} rows, {len(described['ids'])} ids, format {described['format']}")
            return cls(rows, tuple(Failure(**failure) for failure in described["failures"]))
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CorpusError(
                f"{path}: not a shard of embeddings ({error}). Remove it and start the same command again: it makes "
                "this shard anew."
            ) from None
