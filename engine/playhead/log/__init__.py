"""Floor 0: bytes in order, on disk, chained. This floor has no idea what they mean."""
