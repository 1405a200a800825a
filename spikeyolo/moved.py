"""Where classes lie that an older configuration or checkpoint names by another path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Old ``_target_`` → where the class is now. An entry stays as long as someone may hold a file that names it.
MOVED: Mapping[str, str] = {
    "spikeyolo.engine.average.WeightAverage": "spikeyolo.engine.update.average.WeightAverage",
    "spikeyolo.engine.optimizer.AdamW": "spikeyolo.engine.update.optimizer.AdamW",
    "spikeyolo.engine.optimizer.Sgd": "spikeyolo.engine.update.optimizer.Sgd",
    "spikeyolo.engine.schedule.CosineSchedule": "spikeyolo.engine.update.schedule.CosineSchedule",
    "spikeyolo.engine.schedule.CyclicSchedule": "spikeyolo.engine.update.schedule.CyclicSchedule",
    "spikeyolo.engine.schedule.StepSchedule": "spikeyolo.engine.update.schedule.StepSchedule",
    "spikeyolo.events.manifest.ConvertedSet": "spikeyolo.events.conversion.converted.ConvertedSet",
    "spikeyolo.events.conversion.manifest.ConvertedSet": "spikeyolo.events.conversion.converted.ConvertedSet",
    "spikeyolo.events.synthetic.SyntheticDataset": "spikeyolo.events.simulator.synthetic.SyntheticDataset",
    "spikeyolo.model.neuron_norse.Lif": "spikeyolo.model.neuron.Lif",
    "spikeyolo.model.neuron_norse.LifBox": "spikeyolo.model.neuron.LifBox",
    "spikeyolo.model.neuron_norse.ParametricLif": "spikeyolo.model.neuron.ParametricLif",
    "spikeyolo.report.mlflow.MlflowLogger": "spikeyolo.report.mlflow.logger.MlflowLogger",
    "spikeyolo.windows.binary.BinaryEncoder": "spikeyolo.windows.encoders.BinaryEncoder",
    "spikeyolo.windows.encode.HistogramEncoder": "spikeyolo.windows.encoders.HistogramEncoder",
    "spikeyolo.windows.mixed_density.MixedDensityEncoder": "spikeyolo.windows.encoders.MixedDensityEncoder",
    "spikeyolo.windows.time_surface.TimeSurfaceEncoder": "spikeyolo.windows.encoders.TimeSurfaceEncoder",
    "spikeyolo.windows.voxel.VoxelEncoder": "spikeyolo.windows.encoders.VoxelEncoder",
}


def moved(node: Any) -> Any:
    """A configuration tree with each ``_target_`` where it lies now."""
    if isinstance(node, dict):
        return {key: MOVED.get(value, value) if key == "_target_" else moved(value) for key, value in node.items()}
    return [moved(item) for item in node] if isinstance(node, list) else node
