"""Fitting adapters: one readable loop, with checkpoints that survive anything."""
