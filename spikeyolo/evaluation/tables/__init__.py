"""The tables that an evaluation scores: detections and truth, made here, found again or brought along."""
