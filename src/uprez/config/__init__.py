"""Settings: where each value comes from, and nothing else."""
