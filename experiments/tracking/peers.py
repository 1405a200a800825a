"""Runs other trackers over scenes, in a virtual environment of their own: ``python peers.py IN.npz OUT.npz``.

pip install trackers==2.6.1 motpy==0.0.10
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

# What each is told beside the rate: nothing, or the scores from which our tracker associates and begins tracks.
SCORES = {"own": None, "ours": (0.3, 0.4)}


def trackers_peer(kind: str, rate: float, scores: tuple[float, float] | None) -> Any:
    from trackers import ByteTrackTracker, OCSORTTracker

    told: dict[str, Any] = {"frame_rate": rate}
    if scores is not None:
        told["high_conf_det_threshold"] = scores[0]
        if kind == "bytetrack":
            told["track_activation_threshold"] = scores[1]
    return (ByteTrackTracker if kind == "bytetrack" else OCSORTTracker)(**told)


def run_trackers(kind: str, rate: float, steps: list[Any], scores: Any, timed: bool) -> list[Any]:
    import supervision as sv

    tracker = trackers_peer(kind, rate, scores)
    out = []
    for seconds, xyxy, score in steps:
        given = sv.Detections(xyxy=xyxy, confidence=score, class_id=np.zeros(len(score), int))
        got = tracker.update(given, timestamp=seconds) if timed else tracker.update(given)
        ids = got.tracker_id if got.tracker_id is not None else np.empty(0, int)
        keep = ids >= 0
        out.append((got.xyxy[keep], ids[keep]))
    return out


def run_motpy(rate: float, steps: list[Any], scores: Any) -> list[Any]:
    from motpy import Detection, MultiObjectTracker

    tracker = MultiObjectTracker(dt=1 / rate)
    least = 0.0 if scores is None else scores[1]
    names: dict[str, int] = {}
    out = []
    for _, xyxy, score in steps:
        tracker.step([Detection(box=box, score=s) for box, s in zip(xyxy, score) if s >= least])
        alive = tracker.active_tracks(min_steps_alive=2, max_staleness=1)
        boxes = np.array([track.box for track in alive]).reshape(-1, 4)
        out.append((boxes, np.array([names.setdefault(track.id, len(names)) for track in alive], int)))
    return out


def main() -> None:
    given = np.load(sys.argv[1], allow_pickle=False)
    results: dict[str, np.ndarray] = {}
    for name in sorted({key.rpartition("/")[0] for key in given.files}):
        rate = float(given[f"{name}/rate"])
        times, t_us = given[f"{name}/times"], given[f"{name}/t_us"]
        xywh, score = given[f"{name}/xywh"], given[f"{name}/score"]
        xyxy = np.column_stack((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]))
        bounds = np.searchsorted(t_us, times), np.searchsorted(t_us, times, "right")
        steps = [(t / 1e6, xyxy[a:b], score[a:b]) for t, a, b in zip(times, *bounds)]
        for peer in ("bytetrack", "ocsort", "motpy"):
            for told, scores in SCORES.items():
                start = time.process_time()
                if peer == "motpy":
                    out = run_motpy(rate, steps, scores)
                else:
                    out = run_trackers(peer, rate, steps, scores, timed=True)
                spent = 1e3 * (time.process_time() - start) / len(steps)
                key = f"{name}|{peer}|{told}"
                results[f"{key}/t_us"] = np.repeat(times, [len(ids) for _, ids in out])
                results[f"{key}/xyxy"] = np.concatenate([boxes.reshape(-1, 4) for boxes, _ in out])
                results[f"{key}/track"] = np.concatenate([ids for _, ids in out])
                results[f"{key}/ms"] = np.array(spent)
                print(key, f"{spent:.2f} ms", file=sys.stderr, flush=True)
    np.savez(sys.argv[2], **results)


if __name__ == "__main__":
    main()
