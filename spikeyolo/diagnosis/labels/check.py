"""Labels held against events: on whose clock they are, what their numbers mean, and whether they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.finding import Draw, Finding, Section, listed
from spikeyolo.diagnosis.labels.boxes import Reading, changed, check_boxes, check_offset, either_way
from spikeyolo.diagnosis.labels.clock import ClockCheck, check_clock
from spikeyolo.diagnosis.labels.density import Density, Stretch, density
from spikeyolo.diagnosis.labels.places import FOLLOWS, follows, moments
from spikeyolo.diagnosis.labels.polarity import one_sided
from spikeyolo.diagnosis.labels.stretches import bin_us, crossing_us, cut
from spikeyolo.diagnosis.labels.unit import other_unit, unit_finding
from spikeyolo.diagnosis.origin import Origin, corrected
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.labels import LabelCorrection
from spikeyolo.events.labels.units import TimeUnit
from spikeyolo.report.pictures.diagnosis import Overlay, draw_clock, draw_overlays, draw_readings

DROP_INVALID = "data.dataset.train_labels.drop_invalid_boxes=true"
_AS_GOOD = 0.9  # a plainer explanation is taken that explains nearly as much
_UNRELATED = 1.2  # density ratio below which boxes may have nothing to do with the events
_ABOVE_CHANCE = 1.05  # and what it must be of that under far shifts, if they have
_FEW_EVENTS = 200  # of which nothing can be told
_FOR_SHIFTS = 0.6  # share of the time left that may go into shifts of the clock


@dataclass(frozen=True, eq=False)
class LabelDiagnosis:
    """What was found, and the correction and the unit of times that what follows is done under."""

    section: Section
    correction: LabelCorrection | None
    unit: TimeUnit | None = None


def check_labels(
    recordings: Sequence[Written],
    *,
    current: LabelCorrection | None,
    origin: Origin,
    steps_us: int,
    deadline: Deadline | None = None,
) -> LabelDiagnosis:
    """Hold the labels of recordings against their events.

    Args:
        current: correction that the labels have already.
        origin: where the labels come from, and so what mends them.
        steps_us: length of a window, µs, for pictures.
        deadline: what is left to be tried then is not tried, which is said; None tries all.
    """
    section = Section("labels against events")
    unit = other_unit(recordings)
    if unit is not None:
        section.findings.append(unit_finding(recordings, unit, origin))
        section.unknown.append("whether boxes follow the events: the doctor sees that once times are in their unit")
        return LabelDiagnosis(section, None, unit)
    labelled = [item for item in recordings if item.boxes is not None and len(item.boxes)]
    if not labelled:
        section.unknown.append(
            "on whose clock and in whose frame labels are, what their numbers mean and whether they follow the "
            "events: there are no labels to hold against the events"
        )
        return LabelDiagnosis(section, None)
    sizes = {(item.recording.width, item.recording.height) for item in labelled}
    if len(sizes) > 1:
        words = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        section.unknown.append(f"recordings are of different sensors ({words} px): only the first one's are looked at")
        first = (labelled[0].recording.width, labelled[0].recording.height)
        labelled = [item for item in labelled if (item.recording.width, item.recording.height) == first]
    crossing = crossing_us(labelled)
    stretches = cut(labelled, bin_us=bin_us(labelled, crossing))
    events = sum(len(item.x) for item in stretches)
    section.facts.append(("looked at", _looked_at(stretches)))
    if events < _FEW_EVENTS:
        section.unknown.append(f"{events} events are too few to hold labels against")
        return LabelDiagnosis(section, None)
    section.findings += one_sided(
        [item.name for item in stretches], [float(item.p.mean()) if len(item.p) else 0.5 for item in stretches]
    )
    chosen, now, clock = _explanation(stretches, crossing, current or LabelCorrection(), section, deadline)
    named = _correction(current or LabelCorrection(), chosen)
    section.facts.append(("density inside boxes over outside", f"{now.ratio:.2f}"))
    if crossing is not None:
        section.facts.append(("objects cross their own size in", f"{crossing / 1000:.1f} ms"))
    section.pictures["label_clock"] = lambda path: draw_clock(path, clock.shift_us, clock.ratio, best_us=clock.best_us)
    refused = [item for item in labelled if item.refusal]
    if chosen is not None:
        shift_us = float(chosen.correction.time_shift_us)
        mend = corrected(origin, changes(named, current or LabelCorrection()))
        finding = Finding(
            chosen.name,
            f"{chosen.words}: with it, event density inside boxes is {chosen.found.ratio:.1f} times that outside, "
            f"now {now.ratio:.1f}",
            remedy=mend.remedy,
            overrides=mend.overrides,
            entry=mend.entry,
            evidence=(
                ("density ratio now", f"{now.ratio:.2f}"),
                ("density ratio mended", f"{chosen.found.ratio:.2f}"),
                *((("training refuses the labels", refused[0].refusal),) if refused else ()),
            ),
            draw=_overlay(stretches, chosen.correction, shift_us, steps_us),
        )
        section.findings.insert(0, finding)
        return LabelDiagnosis(section, named)
    if refused:
        section.findings.insert(0, _refusal(refused, len(labelled), _overlay(stretches, None, 0.0, steps_us)))
    elif clock.whole and _unrelated(now, clock) and not moments(stretches).plain:
        section.findings.insert(
            0,
            Finding(
                "unrelated",
                f"boxes do not follow the events: density inside is {now.ratio:.2f} times that outside, at whatever "
                "shift, scale or order of their numbers",
                remedy="look whether each label file belongs to its events file, with python -m spikeyolo.view "
                "source=FILE labels=FILE",
                evidence=(("density ratio", f"{now.ratio:.2f}"), ("at its largest, over shifts", f"{clock.best:.2f}")),
                draw=_overlay(stretches, None, 0.0, steps_us),
            ),
        )
    section.findings += _strays(stretches, crossing, steps_us, section, deadline)
    section.pictures["label_boxes"] = _overlay(stretches, None, 0.0, steps_us)
    return LabelDiagnosis(section, None)


def _explanation(
    stretches: Sequence[Stretch],
    crossing: float | None,
    current: LabelCorrection,
    section: Section,
    deadline: Deadline | None,
) -> tuple[Reading | None, Density, ClockCheck]:
    """What explains the labels so much better than they are that it must be meant."""
    now, tried, boxes = check_boxes(stretches, current=current)
    shifts_until = None if deadline is None else deadline.part(_FOR_SHIFTS * deadline.left)
    clock = check_clock(stretches, crossing_us=crossing, deadline=shifts_until)
    if not clock.whole:
        section.unknown.append(f"whether a clock is off by more than {clock.reach_us / 1000:g} ms: the time was up")
    section.facts.append(("labels fit best if shifted by", f"{clock.best_us / 1000:+.1f} ms"))
    candidates = [] if boxes is None else [boxes]
    late = _clock_reading(stretches, clock, now)
    candidates += [] if late is None else [late]
    if deadline is not None and deadline.over:
        section.unknown.append("whether all boxes lie beside their objects: the time was up")
    else:  # whatever fits already: another reading does by chance, a shift in time where all moves alike
        offset = check_offset(stretches)
        candidates += [] if offset is None else [offset]
    section.pictures["label_readings"] = lambda path: draw_readings(
        path, [("as they are", now.ratio), *((one.words, one.found.ratio) for one in tried)]
    )
    if not candidates:
        return None, now, clock
    most = max(one.found.information for one in candidates)
    return next(one for one in candidates if one.found.information >= _AS_GOOD * most), now, clock


def _clock_reading(stretches: Sequence[Stretch], clock: ClockCheck, now: Density) -> Reading | None:
    """The labels shifted to where they fit; None: they are not off."""
    unit = 1000 if abs(clock.best_us) >= 100_000 else 100
    shift_us = unit * round(clock.best_us / unit)
    if not clock.off:
        return None
    found = density(stretches, shift_us=shift_us)
    if not follows(stretches, found, shift_us=shift_us):
        return None
    if either_way(found, now, density(stretches, shift_us=-shift_us)):  # the boxes are drawn too small
        return None
    return Reading(
        "clock",
        f"labels come {abs(shift_us) / 1000:g} ms too {'late' if shift_us < 0 else 'early'}",
        LabelCorrection(time_shift_us=shift_us),
        found,
    )


def _correction(current: LabelCorrection, chosen: Reading | None) -> LabelCorrection:
    """The current correction with what was found added to it."""
    if chosen is None:
        return current
    found, none = chosen.correction, LabelCorrection()
    offset = current.offset_px
    if found.offset_px is not None:
        x, y = offset or (0.0, 0.0)
        offset = (round(x + found.offset_px[0], 1), round(y + found.offset_px[1], 1))
    return replace(
        current,
        time_shift_us=current.time_shift_us + found.time_shift_us,
        columns=found.columns if found.columns != none.columns else current.columns,
        flip=found.flip if found.flip != none.flip else current.flip,
        scale=current.scale if found.scale is None else found.scale,
        offset_px=offset,
    )


def changes(named: LabelCorrection, current: LabelCorrection) -> tuple[str, ...]:
    """What is to be changed of the current correction, as ``KEY=VALUE``."""
    found = []
    for key in ("time_shift_us", "columns", "flip", "scale", "offset_px"):
        value = getattr(named, key)
        if value != getattr(current, key):
            text = f"[{','.join(f'{one:g}' for one in value)}]" if isinstance(value, tuple | list) else value
            found.append(f"{key}={text}")
    return tuple(found)


def _refusal(refused: Sequence[Written], of: int, draw: Draw) -> Finding:
    return Finding(
        "refused",
        f"training refuses the labels of {len(refused)} of {of} recordings: {refused[0].refusal}",
        remedy="mend the files, or leave such boxes out",
        overrides=((DROP_INVALID,) if "drop_invalid_boxes" in refused[0].refusal else ()),
        evidence=tuple((item.name, item.refusal) for item in refused[:5]),
        draw=draw,
    )


def _unrelated(now: Density, clock: ClockCheck) -> bool:
    far = clock.ratio[np.abs(clock.shift_us) > max(2 * clock.width_us, 100_000)]
    far = far[np.isfinite(far)]
    chance = float(np.median(far)) if len(far) else 1.0
    return now.ratio < _UNRELATED and now.ratio < _ABOVE_CHANCE * max(chance, 1.0 / _ABOVE_CHANCE)


def _strays(
    stretches: Sequence[Stretch],
    crossing: float | None,
    steps_us: int,
    section: Section,
    deadline: Deadline | None,
) -> list[Finding]:
    """Single recordings whose labels are off in a way that those of the others are not."""
    if len(stretches) < 3:
        return []
    ratios = np.array([density([item]).ratio for item in stretches])
    usual = float(np.median(ratios))
    if usual < 2 * FOLLOWS:
        return []
    found: list[tuple[Stretch, str]] = []
    for item, ratio in zip(stretches, ratios.tolist()):
        if ratio > 0.2 * usual or len(item.x) < _FEW_EVENTS:
            continue
        if deadline is not None and deadline.over:
            section.unknown.append(f"why the labels of {item.name} do not follow its events: the time was up")
            break
        now, _, reading = check_boxes([item])
        clock = check_clock([item], crossing_us=crossing, deadline=deadline)
        late = _clock_reading([item], clock, now)
        if reading is not None:
            found.append((item, reading.words))
        elif late is not None and clock.best >= max(FOLLOWS, 0.3 * usual):
            found.append((item, f"labels fit {clock.best_us / 1000:+.1f} ms later"))
    if not found:
        return []
    return [
        Finding(
            "strays",
            f"labels of {len(found)} of {len(stretches)} recordings are off, unlike those of the others: "
            f"{listed([item.name for item, _ in found])}",
            remedy="mend their label files, or take the recordings out of the set",
            evidence=tuple((item.name, words) for item, words in found[:8]),
            draw=_overlay([item for item, _ in found], None, 0.0, steps_us),
        )
    ]


def _overlay(stretches: Sequence[Stretch], correction: LabelCorrection | None, shift_us: float, span_us: int) -> Draw:
    """Draws moments of stretches with their boxes, and where they would be under a correction."""

    def draw(path: Path) -> Path:
        tiles: list[Overlay] = []
        for item in [stretches[0]] * 4 if len(stretches) == 1 else stretches[:4]:
            at = _moment(item, len(tiles) if len(stretches) == 1 else 1, shift_us)
            if at is None:
                continue
            low = item.first_event[max(at - max(span_us // item.bin_us, 1), 0)]
            rows = slice(low, item.first_event[at + 1])
            boxes = _boxes_at(item, at + item.before)
            mended = _boxes_at(item, at + item.before - round(shift_us / item.bin_us))
            if correction is None:
                mended = mended[:0]
            else:
                mended = changed(replace(correction, time_shift_us=0), item.width, item.height)(mended)
            tiles.append(
                Overlay(
                    item.x[rows], item.y[rows], item.p[rows], item.width, item.height, boxes, mended,
                    f"{item.name[-28:]} {(item.start_us + at * item.bin_us) / 1e6:.3f} s",
                )
            )  # fmt: skip
        return draw_overlays(path, tiles)

    return draw


def _boxes_at(item: Stretch, label_bin: int) -> np.ndarray:
    label_bin = int(np.clip(label_bin, 0, len(item.known) - 1))
    return item.xyxy[item.first_box[label_bin] : item.first_box[label_bin + 1]]


def _moment(item: Stretch, number: int, shift_us: float) -> int | None:
    """A bin of events that has boxes, the ``number``-th of four spread over the stretch."""
    ahead = item.before - round(shift_us / item.bin_us)
    bins = np.arange(item.bins)
    label = np.clip(bins + ahead, 0, len(item.known) - 1)
    shown = bins[item.first_box[label + 1] > item.first_box[label]]
    if not len(shown):
        return None
    return int(shown[(2 * number + 1) * len(shown) // 8])


def _looked_at(stretches: Sequence[Stretch]) -> str:
    seconds = sum(item.end_us - item.start_us for item in stretches) / 1e6
    kept = min(item.kept for item in stretches)
    thinned = "" if kept == 1 else f", one event of {round(1 / kept)} of the busiest"
    return f"{len(stretches)} recordings, {seconds:.2f} s of them, {sum(len(i.x) for i in stretches):,} events{thinned}"
