"""Windows of events: which exist, how they are encoded, and how they reach the network."""
