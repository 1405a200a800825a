"""Neurons, and the pass of a whole sequence on a CPU and on CUDA."""

from spikeyolo.model.neuron.ilif import Ilif, IlifParameters, IlifState, Neuron, Relu
from spikeyolo.model.neuron.norse import Lif, LifBox, ParametricLif

__all__ = ["Ilif", "IlifParameters", "IlifState", "Lif", "LifBox", "Neuron", "ParametricLif", "Relu"]
