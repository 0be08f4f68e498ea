"""Adapters and bases on disk: strict, fingerprinted, without pickle."""
