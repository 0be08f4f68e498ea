"""Where adapters can act: the only layer that reads a model's module tree."""
