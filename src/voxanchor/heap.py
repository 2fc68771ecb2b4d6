"""How this process's allocator treats memory that was freed."""

import ctypes
import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's ``mallopt`` (malloc.h)."""

_GROW_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Make the process keep what it frees for its next allocation, and say whether that could be arranged.

    glibc hands every block above 32 MiB back to the system when it is freed. A model's step frees and takes the same
    blocks again, and each time the system must find and clear their pages: nearly half the time of a training step of
    ECAPA-512 on a processor. Kept, they cost no more than their place: the process stays as large as it has been.

    It concerns the whole process, so only programs of this package call it, never its library. Another allocator, or
    settings of the user's own (``MALLOC_...``, ``GLIBC_TUNABLES``), stay as they are.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # not glibc
    # all three, whatever one of them says
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, _GROW_BYTES)])
