"""The composition algebra: which adapters run, in what shape; it knows no method."""
