"""Sweeps: many runs, searched by Optuna. Knows nothing of events or networks."""
