"""From a recording, its labels and tables of what was found in it to a film."""
