"""How windows reach the network: in which order, by which process, in which batch."""
