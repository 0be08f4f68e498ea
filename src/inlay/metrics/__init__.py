"""Pure functions from predictions and labels to numbers."""
