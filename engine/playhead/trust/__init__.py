"""Floor 2: the trust graph. What agents did, under whose eyes, as records in one hash chain. Pure."""
