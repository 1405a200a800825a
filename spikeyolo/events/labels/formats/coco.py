"""COCO detection files: boxes of images that stand for moments of a recording."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from spikeyolo.errors import LabelError
from spikeyolo.events.labels.formats.rows import LabelRows, confidences, numbers, tracks
from spikeyolo.events.labels.formats.text import is_number, number, read_text
from spikeyolo.events.labels.tracks import as_track_ids

_TIMES = ("t_us", "timestamp_us", "timestamp")
_TRACKS = ("track_id", "instance_id")


def read_coco(path: Path) -> LabelRows:
    """Boxes of a COCO file (https://cocodataset.org/#format-data), ``bbox`` being left, top, width, height in px.

    The time of an image is its ``t_us`` or ``timestamp``, or the number in which its file name ends. Tracks are
    ``track_id`` or ``instance_id`` of an annotation or of its ``attributes``. Boxes around crowds are left out.
    An image without annotations is a look at which nothing was to be seen.

    Raises:
        LabelError: it is no such file, or an image has no time.
    """
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise LabelError(f"{path}: is no complete JSON ({error})") from error
    try:
        if not isinstance(content, Mapping):
            raise KeyError("images")
        images = {image["id"]: image for image in content["images"]}
        names = {int(category["id"]): str(category["name"]) for category in content["categories"]}
        boxes = [box for box in content["annotations"] if not box.get("iscrowd")]
        sizes = {(int(i["width"]), int(i["height"])) for i in images.values() if i.get("width") and i.get("height")}
        times = {key: _time(image, path) for key, image in images.items()}
        count = len(boxes)
        if len(sizes) > 1:
            raise LabelError(f"{path}: its images have {len(sizes)} sizes; expected one, that of the sensor")
        found = [_track(box) for box in boxes]
        crowds = len(content["annotations"]) - count
        shown = {box["image_id"] for box in boxes}
        crowded = {box["image_id"] for box in content["annotations"]} - shown  # what they show is not known
        return LabelRows(
            numbers([times[box["image_id"]] for box in boxes]),
            np.array([box["bbox"] for box in boxes], np.float64).reshape(count, 4),
            numbers([box["category_id"] for box in boxes]),
            as_track_ids(tracks(found, count)),
            confidences([float(box.get("score", 1)) for box in boxes], count),
            names=names,
            image_size=next(iter(sizes), None),
            left_out={"crowd": crowds} if crowds else {},
            looks=numbers([time for key, time in times.items() if key not in crowded]),
        )
    except KeyError as error:
        raise LabelError(
            f"{path}: is no COCO file (no {error}); expected images, annotations with image_id, bbox and category_id, "
            "and categories"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise LabelError(f"{path}: is no COCO file ({error}); expected bbox=[x,y,w,h] in each annotation") from error


def _time(image: Mapping[str, Any], path: Path) -> int | float:
    for key in _TIMES:
        value = image.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and is_number(value):
            return number(value, key)
    name = str(image.get("file_name", ""))
    digits = re.search(r"(\d+)$", PurePosixPath(name.replace("\\", "/")).stem)
    if digits is None:
        raise LabelError(
            f"{path}: image {image['id']} ({name or 'without a file name'}) has no time; expected t_us or timestamp, "
            "or a file name that ends in the time in µs"
        )
    return int(digits[1])


def _track(box: Mapping[str, Any]) -> int | float:
    attributes = box.get("attributes")
    places = [box, attributes] if isinstance(attributes, Mapping) else [box]
    for place in places:
        for key in _TRACKS:
            value = place.get(key)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return value
    return -1
