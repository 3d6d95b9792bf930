"""A module that cannot be imported."""

raise RuntimeError("this needs a license")
