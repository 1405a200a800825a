"""COCO JSON: a data set with scores, one image a look (https://cocodataset.org/#format-data).

Images carry ``recording`` and ``t_us`` beside COCO's keys; annotations carry ``score``, and ``track_id`` and ``step``
where there are some. A results file (a list of detections) is read beside the data set that names its images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikeyolo.detections.files import whole_file
from spikeyolo.detections.table import DetectionTable
from spikeyolo.detections.truth import Looks
from spikeyolo.errors import DetectionError


def write(table: DetectionTable, path: Path | str, *, looks: Looks | None = None) -> Path:
    """Write a table as a COCO data set.

    Args:
        table: detections or truth.
        path: of the JSON file.
        looks: times that become images, beside those that have a row in the table.

    Raises:
        DetectionError: it cannot be written.
    """
    places = [(table.recordings[r], t) for r, t in zip(table.recording.tolist(), table.t_us.tolist())]
    seen = (
        []
        if looks is None
        else [(looks.recordings[r], t) for r, t in zip(looks.recording.tolist(), looks.t_us.tolist())]
    )
    ids = {place: i for i, place in enumerate(sorted({*places, *seen}), start=1)}
    columns = (
        table.class_id,
        table.xywh.astype(np.float64),
        table.score.astype(np.float64),
        table.track_id,
        table.step,
    )
    rows = zip(places, *(column.tolist() for column in columns))
    annotations = []
    for i, (place, class_id, box, score, track, step) in enumerate(rows, start=1):
        row = {"id": i, "image_id": ids[place], "category_id": class_id, "bbox": box, "score": score, "iscrowd": 0}
        row |= {"area": box[2] * box[3]}
        row |= {key: value for key, value in (("track_id", track), ("step", step)) if value >= 0}
        annotations.append(row)
    data = {
        "images": [{"id": i, "file_name": f"{name}/{t}", "recording": name, "t_us": t} for (name, t), i in ids.items()],
        "categories": [{"id": k, "name": name} for k, name in enumerate(table.classes)],
        "annotations": annotations,
    }
    with whole_file(Path(path)) as partial:
        partial.write_text(json.dumps(data), encoding="utf-8")
    return Path(path)


def read(path: Path | str, *, images: Path | str | None = None, classes: Sequence[str] | None = None) -> DetectionTable:
    """Read a data set or a results file; its metadata's ``looks`` are the times of its images, by recording.

    Args:
        path: of the JSON file.
        images: data set whose images and categories a results file counts in; None: the file's own.
        classes: names by id; None takes the categories in the order of their ids.

    Raises:
        DetectionError: it is no such file, an image has no ``recording`` and ``t_us``, or a value is none.
    """
    found = _load(path)
    rows = found if isinstance(found, list) else found.get("annotations", [])
    named = _load(images) if isinstance(found, list) and images is not None else found
    if isinstance(named, list):
        raise DetectionError(f"{path}: is a list of results; expected beside it the data set that names its images")
    try:
        places = {image["id"]: (str(image["recording"]), int(image["t_us"])) for image in named["images"]}
    except KeyError as error:
        raise DetectionError(
            f"{path if named is found else images}: has no {error.args[0]!r}; expected images with recording and t_us"
        ) from error
    categories = {kind["id"]: str(kind["name"]) for kind in named.get("categories", [])}
    known = tuple(classes) if classes is not None else tuple(categories[k] for k in sorted(categories))
    foreign = sorted(set(categories.values()) - set(known))
    if foreign:
        raise DetectionError(f"{path}: holds the classes {', '.join(foreign)}; expected only {', '.join(known)}")
    recordings = tuple(sorted({name for name, _ in places.values()}))
    index = {name: i for i, name in enumerate(recordings)}
    try:
        at = [places[row["image_id"]] for row in rows]
        class_id = [known.index(categories[row["category_id"]]) for row in rows]
        boxes = [row["bbox"] for row in rows]
    except KeyError as error:
        raise DetectionError(f"{path}: an annotation names {error.args[0]!r}, which is not there") from error
    table = DetectionTable(
        recordings,
        known,
        np.array([index[name] for name, _ in at], np.int64),
        np.array([t for _, t in at], np.int64),
        np.array([row.get("step", -1) for row in rows], np.int64),
        np.array(class_id, np.int64),
        np.array([row.get("score", 1.0) for row in rows], np.float32),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([row.get("track_id", -1) for row in rows], np.int64),
        metadata={"looks": Looks.by_name(places.values())},
    )
    table.check(str(path))
    return table


def _load(path: Path | str) -> Any:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DetectionError(f"{path}: cannot be read as COCO JSON ({error})") from error
    if not isinstance(found, dict | list):
        raise DetectionError(f"{path}: found {type(found).__name__}; expected a COCO data set or a list of results")
    return found
