"""What the header of a file says: where the samples lie, how many there are, whether it was ever finished."""

import codecs
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

OPEN_BYTES = 0x7FFF_0000
"""Programs that write to a pipe state the largest size there is: from here on a size says nothing."""

LEAST_BYTES = 800
"""Fewer bytes are no sound worth a word: a tenth of a second on the telephone."""

SAMPLE_DUMP = b"\xf0\x7e"
"""How a MIDI sample dump begins: of a damaged one libsndfile prints lines to standard output."""

_MOST_CHUNKS = 4096

_CHUNKS = frozenset(
    b"LIST INFO ID3 BEXT IXML AXML CUE SMPL INST FACT PEAK JUNK FLLR PAD PLST LABL LTXT NOTE CART ACID STRC AFSP UMID "
    b"MEXT LEVL LINK CHNA DBMD MD5 DISP _PMX XMP BWF RIFF MINF ELM1 REGN RESU SLNT SAUR LGWV TLST CSET "  # of WAV
    b"NAME AUTH (C) ANNO COMT MARK MIDI AESD APPL CHAN SSND COMM FVER "  # of AIFF
    b"STRG OVVW UUID KUKI PAKT DESC FREE".split()  # of CAF
)
"""Names of what lies behind the samples, in capitals and without the blanks behind them."""

_TEXT_BYTES = 4096

_TAGS = (b"TAG", b"APETAGEX", b"ID3", b"LYRICSBEGIN")

_W64_CHUNK = bytes.fromhex("f3acd3118cd100c04f8edb8a")
"""The last twelve bytes of the name of any chunk of a W64 file."""


@dataclass(frozen=True)
class SoundChunk:
    """Where in a file the samples lie, and where it says how many bytes they are.

    Attributes:
        start: of the first sample, in bytes from the beginning of the file.
        size: of the samples in bytes, as the header says.
        total: size of the file.
        field: where the header says the size, and in what form, as `struct` writes it.
        extra: what that size counts besides the samples.
        described: the chunk ``fmt `` of a WAV file, which says what the samples are; empty elsewhere.
    """

    start: int
    size: int
    total: int
    field: tuple[int, str]
    extra: int = 0
    described: bytes = b""

    @property
    def cut(self) -> bool:
        """Whether the file ends before the samples do."""
        return 0 < self.present < self.size < OPEN_BYTES

    @property
    def present(self) -> int:
        """As many of these bytes as there are."""
        return max(0, min(self.size, self.total - self.start))

    def left_open(self, file: BinaryIO | io.RawIOBase) -> bool:
        """Return whether samples lie behind their stated end: the program stopped before it could finish the header."""
        end = self.start + self.size
        if self.size >= OPEN_BYTES or self.total - end < LEAST_BYTES:
            return False
        if any(_is_chunk(file, at, self.total) for at in (end, end + end % 2, end + -end % 8)):
            return False
        file.seek(end)
        if _is_text(file.read(_TEXT_BYTES)):
            return False
        file.seek(end)
        return any(any(block) for block in iter(lambda: file.read(2**20), b""))  # zeros fill up a sector

    def closed(self) -> dict[int, bytes]:
        """Return bytes, by their place in the file, with which the header says that the samples go on to its end."""
        place, form = self.field
        largest = 2 ** (8 * struct.calcsize(form)) - 1
        return {place: struct.pack(form, min(self.total - self.start + self.extra, largest))}


def sound_chunk(file: BinaryIO | io.RawIOBase) -> SoundChunk | None:
    """Return where the samples of a WAV, RF64, W64, AIFF, AU or CAF file lie; None where it is none, or has none."""
    total = file.seek(0, 2)
    file.seek(0)
    head = file.read(40)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _in_riff(file, total, ">" if head[:4] == b"RIFX" else "<")
    if head[:4] == b"riff" and head[28:40] == _W64_CHUNK:
        return _in_chunks(file, total, 40, b"data" + _W64_CHUNK, "<Q", counted=24, extra=24, align=8)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _in_chunks(file, total, 12, b"SSND", ">I", extra=8, align=2)
    if head[:4] == b"caff":
        return _in_chunks(file, total, 8, b"data", ">Q", extra=4)
    if head[:4] == b".snd":
        start, size = struct.unpack(">II", head[4:12].ljust(8, b"\0"))
        return SoundChunk(start, size, total, (8, ">I"))
    return None


def _in_riff(file: BinaryIO | io.RawIOBase, total: int, order: str) -> SoundChunk | None:
    described, long_at, long_size = b"", 0, 0
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > total:
            break
        file.seek(at)
        head = file.read(8)
        (size,) = struct.unpack(order + "I", head[4:])
        if head[:4] == b"data":
            if size == 0xFFFF_FFFF and long_at:
                return SoundChunk(at + 8, long_size, total, (long_at, "<Q"), 0, described)
            return SoundChunk(at + 8, size, total, (at + 4, order + "I"), 0, described)
        if head[:4] == b"fmt ":
            described = file.read(min(size, 64))
        if head[:4] == b"ds64" and len(content := file.read(16)) == 16:
            long_at, long_size = at + 16, struct.unpack("<8xQ", content)[0]
        at += 8 + size + size % 2
    return None


def _in_chunks(
    file: BinaryIO | io.RawIOBase,
    total: int,
    at: int,
    name: bytes,
    form: str,
    *,
    counted: int = 0,
    extra: int = 0,
    align: int = 1,
) -> SoundChunk | None:
    """Return the chunk of a name among those from a place on.

    Args:
        file: the file.
        total: its size.
        at: where the first chunk begins.
        name: of the chunk with the samples; all names are of its length.
        form: of a chunk's size.
        counted: bytes of its own head that a chunk's size counts.
        extra: bytes of the size that are no samples.
        align: chunks begin at multiples of it.
    """
    width = struct.calcsize(form)
    head_bytes = len(name) + width
    for _ in range(_MOST_CHUNKS):
        if at + head_bytes > total:
            break
        file.seek(at)
        head = file.read(head_bytes)
        (size,) = struct.unpack(form, head[len(name) :])
        if head.startswith(name):
            start = at + head_bytes + extra - counted
            return SoundChunk(start, max(size - extra, 0), total, (at + len(name), form), extra)
        step = max(size - counted, 0) + head_bytes
        at += step + -step % align
    return None


def _is_chunk(file: BinaryIO | io.RawIOBase, at: int, total: int) -> bool:
    """Return whether what lies at a place is the head of a chunk, or a tag, and no sound.

    A chunk of a name that is known is one whatever size it states: it may itself be cut.
    """
    file.seek(at)
    head = file.read(16)
    if head.startswith(_TAGS) or head[4:] == _W64_CHUNK or head[:4].rstrip(b" \0").upper() in _CHUNKS:
        return True
    sizes = [int.from_bytes(head[4:8], order) for order in ("little", "big")]
    return all(32 <= byte < 127 for byte in head[:4]) and min(sizes) <= total - at


def _is_text(content: bytes) -> bool:
    """Return whether bytes are something to read, in UTF-8 perhaps cut off, maybe with zeros around it: no sound is."""
    text = content.strip(b"\0")
    try:
        said = codecs.getincrementaldecoder("utf-8")().decode(text)
    except UnicodeDecodeError:
        return False
    return bool(said) and all(letter.isprintable() or letter.isspace() for letter in said)


def asf_length_s(file: BinaryIO | io.RawIOBase) -> float:
    """Return where in time a Windows Media file ends by its header; 0 where that does not say.

    Of a file that is cut FFmpeg guesses it.
    """
    file.seek(0)
    head = file.read(2**16)
    at = head.find(_ASF_FILE)
    if not head.startswith(_ASF) or at < 0 or len(head) < at + 92:
        return 0.0
    play, _, preroll, flags = struct.unpack("<QQQI", head[at + 64 : at + 92])  # 100 ns, ms
    return 0.0 if flags & 1 else max(0.0, play / 1e7 - preroll / 1e3)  # the flag: it was written while it was sent


def format_name(place: Path) -> str:
    """Return what a file is that only FFmpeg decodes, by its first bytes; empty where they do not say."""
    try:
        with place.open("rb") as file:
            head = file.read(32)
            chunk = sound_chunk(file)
    except OSError:
        return ""
    if head[4:8] in (b"ftyp", b"moov", b"moof", b"mdat", b"wide"):
        return "M4A, MP4, MOV or 3GP"
    if chunk is not None and chunk.described:
        codec = _WAV_CODECS.get(int.from_bytes(chunk.described[:2], "little"))
        return f"WAV with {codec}" if codec else ""
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return "AAC (ADTS)"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


_ASF = bytes.fromhex("3026b2758e66cf11")

_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""Name of the object in the header that says how large and long the file is."""

_MAGIC = {
    bytes.fromhex("1a45dfa3"): "WebM or Matroska",
    _ASF: "Windows Media",
    b"#!AMR": "AMR",
    b"\x0b\x77": "AC-3",
}

_WAV_CODECS = {
    0x14: "G.723", 0x40: "G.721", 0x42: "G.723.1", 0x45: "G.726", 0x64: "G.726", 0x65: "G.722", 0x83: "G.729",
    0x111: "G.723.1", 0x28F: "G.722", 0xA106: "AAC", 0xFF: "AAC", 0x160: "Windows Media", 0x161: "Windows Media",
}  # fmt: skip


class Mended(io.RawIOBase):
    """A file that a decoder written in C reads: some of its bytes are others, and no exception comes out of it.

    Attributes:
        error: what happened when it was read.
    """

    def __init__(self, file: io.RawIOBase, others: Mapping[int, bytes] | None = None) -> None:
        self.error: OSError | None = None
        self._file = file
        self._others = others or {}

    def readable(self) -> bool:  # noqa: D102 - as its base class says
        return True

    def seekable(self) -> bool:  # noqa: D102 - as its base class says
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Return the new place; -1 where there is no such place, as after a header that names one."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1

    def tell(self) -> int:  # noqa: D102 - as its base class says
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        """Return how many bytes were read; 0 after an error, too."""
        at, view = self._file.tell(), memoryview(buffer).cast("B")
        try:
            count = self._file.readinto(view) or 0
        except OSError as error:
            self.error = error
            return 0
        for place, content in self._others.items():
            for offset, byte in enumerate(content, place - at):
                if 0 <= offset < count:
                    view[offset] = byte
        return count
