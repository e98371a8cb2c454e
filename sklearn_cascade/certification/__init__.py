"""Guarantees from rows that took no part in choosing members or thresholds."""
