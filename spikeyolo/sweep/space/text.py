"""Values and configurations as text: a value as an override writes it, a key's value as the configuration holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spikeyolo.errors import SweepError

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["config_text", "flatten", "override_text", "text_of"]


def text_of(value: object) -> str:
    """The text a value has in an override, without quotes."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def override_text(value: Any) -> str:
    """Write a plain value, or a list or mapping of them, so that Hydra's grammar reads the same value back.

    Raises:
        SweepError: no override has that value.
    """
    if isinstance(value, Mapping):
        items = (f"{override_text(key)}:{override_text(item)}" for key, item in value.items())
        return _read_back(value, f"{{{','.join(items)}}}")
    if isinstance(value, list | tuple):
        return _read_back(list(value), f"[{','.join(map(override_text, value))}]")
    if not isinstance(value, str):
        return text_of(value) if value is None or isinstance(value, bool | int | float) else str(value)
    return _override_of_text(value)


def _override_of_text(value: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(f"k={value}")
        # A comma or a bracket is one value here, and several in a list.
        plain = not parsed.is_sweep_override() and not set(value) & set(",:[]{}()")
        if plain and parsed.value() == value and value == value.strip():
            return value
    except HydraException:
        pass
    return QuotedString(text=value, quote=Quote.single).with_quotes()


def _read_back(value: Any, text: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        if OverridesParser.create().parse_override(f"k={text}").value() == value:
            return text
    except HydraException:
        pass
    raise SweepError(f"found {value!r}, expected a value that an override can write")


def config_text(composed: DictConfig, key: str) -> Any:
    """The value of a key in the composed configuration: of a group, the option chosen; None where there is none."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    choices = composed.hydra.runtime.choices
    if key in choices:
        return choices[key]
    try:
        value = OmegaConf.select(composed, key)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException:  # an interpolation that only a job can resolve
        return None


def flatten(tree: Any, prefix: str = "") -> dict[str, str]:
    """A nested configuration as ``a.b.c → text``; a list is one value."""
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: str(tree)}
    flat: dict[str, str] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
