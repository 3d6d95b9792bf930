"""Going back and forth inside a step or over a stretch of steps, for everything inside."""
