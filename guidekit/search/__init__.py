"""Search for the settings of a guidance: spaces of numbers, and ways to go through them."""
