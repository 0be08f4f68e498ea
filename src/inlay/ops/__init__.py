"""Pure tensor functions: no parameters, no names, no model; each fast one has a naive twin."""
