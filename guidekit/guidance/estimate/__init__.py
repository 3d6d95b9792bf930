"""One prediction changed in place: bounds, thresholds, temperatures, spreads."""
