"""Labels held against events: other clocks, other meanings of a box's numbers, other sensors."""
