"""The loop and its nouns: states, predictions, kernels, populations, guidance hooks, runs."""
