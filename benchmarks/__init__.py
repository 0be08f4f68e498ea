"""Measurements; each writes its results with command, versions and spread."""
