"""The machine: whether windows are made as fast as they are learnt, and whether its cores and memory suffice."""
