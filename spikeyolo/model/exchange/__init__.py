"""The network in other formats: published names, torch.export, ONNX, NIR."""

from spikeyolo.model.exchange.nir import export_nir
from spikeyolo.model.exchange.onnx import export_onnx
from spikeyolo.model.exchange.published import LoadReport, load_published
from spikeyolo.model.exchange.torch_export import export_torch

__all__ = ["LoadReport", "export_nir", "export_onnx", "export_torch", "load_published"]
