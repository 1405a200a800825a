"""Pictures for people, all on one dark canvas."""
