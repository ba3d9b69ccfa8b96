"""Where a partition's log files are found, opened, and cleaned up."""
