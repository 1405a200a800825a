"""The spiking network: neurons, blocks, detector, decoding."""
