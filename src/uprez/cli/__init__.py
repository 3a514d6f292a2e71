"""The command line: one verb a file, one error boundary."""
