"""One file per adapter method: how an adapter computes, not where it sits."""
