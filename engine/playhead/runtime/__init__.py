"""Floor 3: running code so that a crash costs one operation at most."""
