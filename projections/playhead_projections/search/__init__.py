"""Search over all runs: a small language, an index that answers it, and a scan of events."""
