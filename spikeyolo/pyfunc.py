"""A trained detector as MLflow loads it: ``mlflow.pyfunc.load_model("models:/NAME/1").predict(frames)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class FramesDetector:
    """Finds objects in encoded windows.

    Args:
        checkpoint: folder of its weights.
    """

    def __init__(self, checkpoint: Path) -> None:
        from spikeyolo.engine.checkpoints.restore import restore_detector
        from spikeyolo.model.decode import Decoder

        self.detector, state = restore_detector(checkpoint)
        self.classes: list[str] = state["classes"]
        self._decode = Decoder()

    def predict(self, frames: npt.NDArray[np.uint8], params: dict[str, Any] | None = None) -> Any:
        """Detections at each window's end, best first.

        Args:
            frames: ``[B, T, C, H, W]`` uint8, as the encoder of the training makes them.
            params: none are known.

        Returns:
            a pandas table: window, left, top, right, bottom (px of the frames), confidence, class.
        """
        import pandas as pd
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(np.swapaxes(np.asarray(frames), 0, 1)))
        with torch.inference_mode():
            found = self._decode(self.detector(batch), frame_size=(int(batch.shape[-2]), int(batch.shape[-1])))
        columns = ("window", "left", "top", "right", "bottom", "confidence", "class")
        rows = [
            (window, *map(float, box), float(score), self.classes[int(class_id)])
            for window, detections in enumerate(found)
            for box, score, class_id in zip(detections.xyxy, detections.score, detections.class_id, strict=True)
        ]
        return pd.DataFrame(rows, columns=list(columns))


def _load_pyfunc(path: str) -> FramesDetector:
    """What MLflow calls with the folder that was logged."""
    return FramesDetector(Path(path))
