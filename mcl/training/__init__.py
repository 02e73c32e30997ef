"""Training one run: set-up, the loop, the meta round, evaluation."""
