"""Systems whose energies are known: reference draws by Monte Carlo, small priors trained on them, and annealing."""
