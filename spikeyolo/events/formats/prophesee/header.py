"""The text header of Prophesee's DAT and RAW files: ``% keyword value`` lines before the binary data.

https://docs.prophesee.ai/stable/data/file_formats/raw.html and dat.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spikeyolo.errors import RecordingError

HEADER_LIMIT = 1 << 16
# Sensors of cameras whose early recordings carry no geometry, by a piece of the plugin's name.
PLUGIN_SIZES = {
    "genx320": (320, 320),
    "gen31": (640, 480),
    "gen3": (640, 480),
    "gen4": (1280, 720),
    "imx636": (1280, 720),
    "imx646": (1280, 720),
}


_VGA, _HD, _GENX320 = (640, 480), (1280, 720), (320, 320)
# Prophesee's cameras by their system_ID: word format and sensor, for headers that state nothing else.
SYSTEMS: dict[int, tuple[str, tuple[int, int]]] = {
    **dict.fromkeys((0x15, 0x17, 0x19, 0x1C, 0x1D, 0x21, 0x22, 0x23, 0x29, 0x97, 0x99, 0xA1, 0xA2), ("EVT2", _VGA)),
    0x28: ("EVT3", _VGA),
    **dict.fromkeys((0x1A, 0x1F, 0x27, 0x9A), ("EVT2", _HD)),
    **dict.fromkeys((0x1E, 0x20, 0x2E, 0x30, 0x31, 0x32, 0x35, 0x3A, 0x42), ("EVT3", _HD)),
    **dict.fromkeys((0x3B, 0x40), ("EVT21", _GENX320)),
}


@dataclass(frozen=True)
class TextHeader:
    """Keywords (lower case) and values of a header, and the byte where the binary data begins."""

    values: dict[str, str]
    data_offset: int

    @classmethod
    def read(cls, path: Path) -> TextHeader:
        """Read the header of a file that starts with ``%``.

        Raises:
            RecordingError: the file ends within the header, or the header never ends.
        """
        with path.open("rb") as file:
            head = file.read(HEADER_LIMIT)
        values: dict[str, str] = {}
        at = 0
        while head[at : at + 1] == b"%":
            end = head.find(b"\n", at)
            line = head[at : end if end >= 0 else None]
            # A line in any encoding is text if the header goes on after it; otherwise binary data may happen to begin
            # with a percent sign.
            goes_on = end >= 0 and head[end + 1 : end + 2] == b"%"
            if not goes_on and not _is_text(line):
                break
            if end < 0:
                raise RecordingError(f"{path}: ends within its text header; expected binary data after the % lines")
            words = _decoded(line[1:]).strip().split(maxsplit=1)
            at = end + 1
            if words == ["end"]:
                break
            if words:
                values.setdefault(words[0].lower(), words[1].strip() if len(words) > 1 else "")
        return cls(values, at)

    @property
    def format_name(self) -> str:
        """EVT2, EVT21, EVT3 or what else a RAW file says it is; empty for a DAT file."""
        if "format" in self.values:
            name = self.values["format"].split(";")[0].strip().upper()
        else:
            name = "EVT" + self.values["evt"] if "evt" in self.values else ""
        if not name and "version" not in self.values and self._system is not None:
            name = self._system[0]
        return name.removesuffix(".0").replace(".", "")

    @property
    def options(self) -> dict[str, str]:
        """The ``key=value`` pairs behind a RAW file's format name."""
        pairs = (part.partition("=") for part in self.values.get("format", "").split(";")[1:])
        return {key.strip().lower(): value.strip().lower() for key, _, value in pairs}

    def size(self) -> tuple[int, int] | None:
        """Sensor width and height as the header states them, or as the named camera has them."""
        geometry = self.values.get("geometry", "").lower().partition("x")
        options = self.options
        for width, height in (
            (options.get("width", ""), options.get("height", "")),
            (geometry[0], geometry[2]),
            (self.values.get("width", ""), self.values.get("height", "")),
        ):
            if _is_number(width) and _is_number(height):
                return int(width), int(height)
        plugin = self.values.get("plugin_name", "").lower()
        named = next((size for name, size in PLUGIN_SIZES.items() if name in plugin), None)
        return named or (self._system[1] if self._system is not None else None)

    @property
    def _system(self) -> tuple[str, tuple[int, int]] | None:
        number = self.values.get("system_id", "")
        return SYSTEMS.get(int(number)) if _is_number(number) else None


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _is_text(line: bytes) -> bool:
    try:
        return line.decode().replace("\t", " ").rstrip("\r").isprintable()
    except UnicodeDecodeError:
        return False


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 8
