"""The allocator as voxanchor's commands set it, and as Python leaves it, one after the other in one process."""

import ctypes

from voxanchor.runtime import keep_freed_memory

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_LARGEST_THRESHOLD = 32 * 2**20


def as_commands() -> None:
    """Keep freed memory, as every command of voxanchor does."""
    keep_freed_memory()


def as_python() -> None:
    """Give it back: glibc's own limits, which move up to 32 MiB (twice that for trimming) with what a program frees."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_MAX, 65_536)
    mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)
    mallopt(_TOP_PAD, 0)
