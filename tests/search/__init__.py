"""Search over all runs: the language, the index, and a scan of events."""
