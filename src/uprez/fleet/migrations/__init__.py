"""Numbered SQL files, applied in order to the ledger."""
