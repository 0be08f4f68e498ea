"""Several tasks on one base, kept in one file: what is stale, training it, and promoting it."""
