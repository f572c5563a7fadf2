"""Floor 4: the same tape without touching the world."""
