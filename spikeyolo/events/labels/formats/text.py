"""Reading label files that are text."""

from __future__ import annotations

from pathlib import Path

from spikeyolo.errors import LabelError


def no_label_file(path: Path) -> LabelError:
    """That there is no such file, and where it was looked for."""
    return LabelError(f"{path}: no such label file; expected one in {path.absolute().parent}")


def read_text(path: Path) -> str:
    """The file's text, without a byte order mark.

    Raises:
        LabelError: it cannot be read, or is no text.
    """
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise no_label_file(path) from error
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: is no text in UTF-8 (byte {error.start}); expected a label file") from error


def number(text: str, where: str) -> int | float:
    """A number as written; whole ones as int, so that no digit is lost.

    Raises:
        LabelError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise LabelError(f"{where} is {text!r}; expected a number") from error


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
