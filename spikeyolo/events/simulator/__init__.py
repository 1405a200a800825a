"""The simulated event camera and its scenes, behind the embedded data set."""
