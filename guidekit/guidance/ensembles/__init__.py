"""Members of a group that move each other by what a forward model says of all of them: no gradient, no weights."""
