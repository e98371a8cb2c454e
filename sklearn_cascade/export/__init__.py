"""From a fitted committee to a file that runs without it."""
