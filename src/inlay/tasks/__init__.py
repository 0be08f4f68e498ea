"""One file per task: its head, loss, metric, collation and decoding."""
