"""The network in other formats: published names, torch.export, ONNX, NIR."""
