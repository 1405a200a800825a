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
            if not _is_text(line):
                break  # binary data that happens to begin with a percent sign
            if end < 0:
                raise RecordingError(f"{path}: ends within its text header; expected binary data after the % lines")
            words = line[1:].decode("ascii").strip().split(maxsplit=1)
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
        return next((size for name, size in PLUGIN_SIZES.items() if name in plugin), None)


def _is_text(line: bytes) -> bool:
    return all(32 <= byte < 127 or byte in (9, 13) for byte in line)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 8
