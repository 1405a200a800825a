"""Pages of HTML in one file that need no network."""
