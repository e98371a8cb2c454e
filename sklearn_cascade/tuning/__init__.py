"""One cascade from held-out predictions: its combination, thresholds and confidence."""
