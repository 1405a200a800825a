"""Convert recordings into the store: ``python -m spikeyolo.convert source=PATH out=FOLDER``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Interval, Len, MinLen
from omegaconf import DictConfig
from pydantic import StringConstraints

from spikeyolo import entry

if TYPE_CHECKING:
    from spikeyolo.events.cleaning import EventRules
    from spikeyolo.events.conversion.convert import Conversion
    from spikeyolo.events.conversion.pool import Outcome
    from spikeyolo.events.datasets import Source
    from spikeyolo.events.store import Recording

log = logging.getLogger("spikeyolo")

OPTIONS: Mapping[str, Any] = {
    "source": str | None,
    "out": str | None,
    "classes": list[str] | None,
    "labels_at": str | None,
    "split": Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]+$")] | None,
    "splits": Annotated[list[Literal["train", "val", "test"]], MinLen(1)],
    "workers": Annotated[int, Ge(1)] | None,
    "strict": bool | None,
    "time_unit": Literal["s", "ms", "us", "ns"] | None,
    "size": Annotated[list[Annotated[int, Interval(ge=1, le=4096)]], Len(2, 2)] | None,
    "replace": bool,
    "previews": Annotated[int, Ge(0)],
    "shard": Annotated[int, Ge(0)] | None,
    "shards": Annotated[int, Ge(1)],
    "info": bool,
    "debug": bool,
}


@entry.in_a_sentence
def convert(config: DictConfig) -> None:
    """One conversion of a composed configuration."""
    run(config)


def run(config: DictConfig) -> None:
    """The conversion itself.

    Raises:
        SpikeyoloError: a key is wrong, there is nothing to convert, or a recording could not be converted.
    """
    from spikeyolo import schema
    from spikeyolo.errors import ConfigError, RecordingError
    from spikeyolo.events.conversion.shards import check_shard

    options = schema.checked_options(config, OPTIONS)
    check_nodes(config)
    check_shard(options["shard"], options["shards"])
    if options["info"]:
        if options["shard"] is not None:
            raise ConfigError(f"shard: found {options['shard']} with info=true, which looks at all; expected no shard")
        look_at(named_places(options["source"]), options["out"], how_to_read(config, options))
        return
    if options["out"] is None:
        raise ConfigError("out must be given: add out=FOLDER (or out=s3://bucket/folder) to the command line")
    outcomes = convert_into(config, options)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        others = f"{len(failed)} of {len(outcomes)} recordings failed; the first: " if len(outcomes) > 1 else ""
        whose = "" if options["shard"] is None else f"shard {options['shard']} of {options['shards']}: "
        raise RecordingError(f"{whose}{others}{failed[0].error}")


def convert_into(config: DictConfig, options: Mapping[str, Any]) -> list[Outcome]:
    """Convert all sources, follow them on the console, bring the manifest up to date, and draw pictures and table."""
    from spikeyolo.events.conversion.abandoned import remove_abandoned
    from spikeyolo.events.conversion.convert import Conversion
    from spikeyolo.events.conversion.manifest import read_published, withdraw_moved
    from spikeyolo.events.conversion.places import place_of
    from spikeyolo.events.conversion.pool import convert_all
    from spikeyolo.events.conversion.shards import share_of
    from spikeyolo.events.labels import warn_once
    from spikeyolo.events.store import Recording
    from spikeyolo.events.store.location import is_remote, normalise
    from spikeyolo.report.recordings import ConversionBars, print_table

    out = normalise(options["out"])
    sources, classes = chosen_sources(config, options)
    strict = options["strict"] is not False
    whole = [
        Conversion(source, place_of(source, out), classes, strict, options["replace"], root=out) for source in sources
    ]
    shard, shards = options["shard"], options["shards"]
    conversions = whole if shard is None else share_of(whole, shard, shards)
    if shard is not None:
        log.info("shard %d of %d: %s", shard, shards, in_words(conversions, whole))
    read_published(out)  # a wrong manifest is better found before the work than after it
    outcomes: list[Outcome] = []
    with ConversionBars([conversion.source.name for conversion in conversions]) as bars:

        def finished(outcome: Outcome) -> None:
            outcomes.append(outcome)
            bars.finished(outcome.conversion.source.name, outcome.status, outcome.error)

        convert_all(conversions, workers=options["workers"], finished=finished, watch=bars.watch)
    order = {conversion.name: number for number, conversion in enumerate(conversions)}
    outcomes.sort(key=lambda outcome: order[outcome.conversion.name])
    names = {conversion.name for conversion in whole}
    entries = {outcome.conversion.name: outcome.entry for outcome in outcomes if outcome.entry}
    held = withdraw_moved(out, entries, names)
    if is_remote(out):
        remove_abandoned(str(out), set(order))
    labelled = [entry for entry in entries.values() if entry["labelled"]]
    warn_once([(entry["labels"], entry["label_warnings"]) for entry in labelled])
    if outcomes:
        print_table([(outcome.conversion.source.name, outcome.status, outcome.entry) for outcome in outcomes])
    splits = Counter(outcome.conversion.source.split for outcome in outcomes if outcome.entry)
    if set(splits) == {""}:
        log.info("of no split: split=train puts them into one, data.val_share=0.2 draws one when training")
    elif splits:
        log.info("splits: %s", ", ".join(f"{name or 'none'} {count}" for name, count in sorted(splits.items())))
    if not is_remote(out):
        for conversion in whole[: options["previews"]]:
            if conversion.name in entries:
                picture(Recording.open(conversion.place), Path(conversion.place).with_suffix(".png"))
    if shard is not None:
        missing = sorted(names - held)
        if missing:
            log.info("the set holds %d of %d recordings so far (not %s)", len(names & held), len(names), missing[0])
        else:
            log.info("the set holds all %d recordings", len(names))
    return outcomes


def in_words(share: Sequence[Conversion], whole: Sequence[Conversion]) -> str:
    """How much of a set this is."""
    sizes = [sum(conversion.source.size_bytes for conversion in each) / 1e9 for each in (share, whole)]
    return f"{len(share)} of {len(whole)} recordings, {sizes[0]:.3g} of {sizes[1]:.3g} GB"


def look_at(found: Sequence[tuple[str, Recording | Path]], out: str | None, reading: Mapping[str, Any]) -> None:
    """Print what is in stored recordings or event files, and draw stored ones into the folder ``out``."""
    from spikeyolo.events.conversion.manifest import entry_of
    from spikeyolo.report.recordings import print_table

    rows = []
    for name, item in found:
        if isinstance(item, Path):
            rows.append((name, "a file", contents_of(item, reading)))
            continue
        rows.append((name, "stored", entry_of(item.attributes)))
        if out is not None:
            picture(item, Path(out) / f"{name.removesuffix('.zarr').replace('/', '_')}.png")
    print_table(rows)


def contents_of(file: Path, reading: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest would say of an events file, found by decoding it.

    Raises:
        RecordingError: it is of no known format, damaged, or holds no events.
    """
    from spikeyolo.errors import RecordingError
    from spikeyolo.events.conversion.identity import open_source, reading_notes
    from spikeyolo.events.datasets import Source

    reader = open_source(Source(file, None, file.stem, "", **reading), strict=False)
    start, end, count = 0, 0, 0
    for events in reader.batches():
        start = start if count else int(events.t[0])
        end, count = int(events.t[-1]) + 1, count + len(events)
    if not count:
        raise RecordingError(f"{file}: holds no events")
    notes = reading_notes(reader)
    return {
        "width": reader.width,
        "height": reader.height,
        "source_format": reader.format,
        "events": count,
        "start_us": start,
        "end_us": end,
        "time_offset_us": reader.time_offset_us,
        "clock": reader.clock,
        "event_counts": notes["event_counts"],
        "filter_counts": notes.get("filter_counts", {}),
        "labelled": False,
        "boxes": {},
    }


def how_to_read(config: DictConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """How the events of ``source`` are read, cleaned and filtered: attributes of a :class:`Source`."""
    from spikeyolo import schema
    from spikeyolo.events.datasets import sensor_size

    return {
        "event_rules": under(schema.build(config.event_rules), options["strict"]),
        "size": sensor_size(options["size"]),
        "filters": schema.build(config.filters),
        "time_unit": options["time_unit"],
    }


def under(rules: EventRules, strict: bool | None) -> EventRules:
    """The rules as ``strict`` sharpens or loosens them: true refuses the first dirty event, false cuts at damage."""
    if strict is None:
        return rules
    return replace(rules, strict=True) if strict else replace(rules, beyond="cut")


def picture(recording: Recording, path: Path) -> None:
    """Draw a few stretches of a stored recording with their boxes."""
    from spikeyolo.events.preview import stretches
    from spikeyolo.report.recordings import draw_preview

    labels = f"{len(recording.boxes)} boxes" if recording.labelled else "no labels"
    title = f"{recording.name}: {recording.num_events:,} events, {labels}"
    draw_preview(path, stretches(recording), classes=recording.classes, title=title)
    log.info("picture: %s", path)


def chosen_sources(config: DictConfig, options: Mapping[str, Any]) -> tuple[list[Source], tuple[str, ...]]:
    """The recordings that were asked for, and their class list.

    Raises:
        ConfigError: neither or both of ``source`` and ``data`` were given, or the data set has no files to convert.
        RecordingError: there is no recording.
    """
    from spikeyolo import schema
    from spikeyolo.errors import ConfigError
    from spikeyolo.events.conversion.sources import sources_at
    from spikeyolo.events.labels import ClassSelection

    if (options["source"] is None) == (config.get("data") is None):
        raise ConfigError("give either source=PATH or data=NAME: found " + ("both" if options["source"] else "neither"))
    if options["source"] is not None:
        rules = schema.build(config.labels)
        classes = tuple(options["classes"] or ClassSelection((), rules).known)
        at = None if options["labels_at"] is None else Path(options["labels_at"])
        sources = sources_at(options["source"], classes, rules, options["split"], at)
        return [replace(source, **how_to_read(config, options)) for source in sources], classes
    if options["split"] is not None:
        raise ConfigError(
            f"split: found {options['split']} beside data=…, which knows its splits; expected source=PATH"
        )
    if schema.build(config.filters).active or options["time_unit"] is not None:
        raise ConfigError("filters and time_unit are those of source=PATH; expected data.filters.… and data.time_unit")
    dataset = schema.build(config.data.dataset)
    if not hasattr(dataset, "sources"):
        raise ConfigError("data: this data set is in the store already; expected one of etram, gen1, mpx1, dsec")
    found: dict[Path, Source] = {}
    for role in options["splits"]:
        for source in dataset.sources(role):
            if source.events in found:
                log.warning("%s belongs to more than one split; converted once, whole", source.events)
            found.setdefault(source.events, replace(source, event_rules=under(source.event_rules, options["strict"])))
    return list(found.values()), tuple(config.data.classes)


def named_places(source: str | None) -> list[tuple[str, Recording | Path]]:
    """What ``info=true`` looks at: stored recordings, or files, each with its name.

    Raises:
        ConfigError: nothing was named.
        RecordingError: there is no recording, or it cannot be opened.
    """
    from spikeyolo.errors import ConfigError
    from spikeyolo.events.conversion.sources import places_at

    if source is None:
        raise ConfigError("source must be given with info=true: add source=PATH to the command line")
    return [(place.name if isinstance(place, Path) else name, place) for name, place in places_at(source)]


def check_nodes(config: DictConfig) -> None:
    """Check the label rules and the data set's files; windows and what else training needs are left alone.

    Raises:
        ConfigError: a key is missing, unknown, of a wrong type or out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue

    from spikeyolo import schema
    from spikeyolo.errors import ConfigError

    tree: dict[str, Any] = {}
    try:
        for key in ("labels", "event_rules", "filters"):
            advice = "; labels_at=FILE names label files" if key == "labels" else ""
            node = schema.checked_node(config, key, advice=advice)
            tree[key] = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        if config.get("data") is not None:
            dataset = OmegaConf.to_container(config.data.dataset, resolve=True, throw_on_missing=True)
            tree["data"] = {"dataset": dataset}
    except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
        key = str(error).partition("Missing mandatory value: ")[2].split()[0]
        raise ConfigError(f"{key} must be given: add {key}=VALUE to the command line") from error
    schema.check(OmegaConf.create(tree))


def main() -> None:
    """Run from a command line."""
    entry.run(convert, "convert")


if __name__ == "__main__":
    main()
