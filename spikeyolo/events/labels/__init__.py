"""Label files: one reader a format, and the rules that clean what they hold."""

from spikeyolo.events.labels.prophesee import LabelRules, Labels, read_boxes

__all__ = ["LabelRules", "Labels", "read_boxes"]
