"""What a cascade does, on arrays: combination, confidence, thresholds, costs and scores."""
