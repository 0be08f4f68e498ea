"""Adapters of other libraries, read from and written to their own files."""
