"""Leases and the work on them: what to ask of which machine, what counts, when to give back."""
