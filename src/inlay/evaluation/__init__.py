"""Running a task over rows: predictions, reports, comparisons."""
