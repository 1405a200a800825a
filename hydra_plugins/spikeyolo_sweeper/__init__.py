"""Where Hydra finds the Optuna sweeper of spikeyolo."""
