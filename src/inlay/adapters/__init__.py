"""The object a user holds: named adapters on one model."""
