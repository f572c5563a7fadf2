"""Floor 0: the log on disk, its evidence and its faults."""
