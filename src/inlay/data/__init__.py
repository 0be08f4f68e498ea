"""From files to rows: readers, columns, labels, splits and the report on a data set."""
