"""Running code so that a crash costs one operation at most."""
