"""Label files: ``formats/`` read a file's columns; named rules clean them against the recording."""

from spikeyolo.events.labels.beside import choose_one, is_label_name, labels_beside, labels_names, labels_of_file
from spikeyolo.events.labels.classes import ClassSelection, selected
from spikeyolo.events.labels.cleaned import Labels, warn_once
from spikeyolo.events.labels.cleaning import read_boxes
from spikeyolo.events.labels.clock import LabelClock
from spikeyolo.events.labels.correction import LabelCorrection
from spikeyolo.events.labels.formats.readers import files_read
from spikeyolo.events.labels.rules import LabelRules
from spikeyolo.events.labels.tracks import without_common_ids

__all__ = [
    "ClassSelection",
    "LabelClock",
    "LabelCorrection",
    "LabelRules",
    "Labels",
    "choose_one",
    "files_read",
    "is_label_name",
    "labels_beside",
    "labels_names",
    "labels_of_file",
    "read_boxes",
    "selected",
    "warn_once",
    "without_common_ids",
]
