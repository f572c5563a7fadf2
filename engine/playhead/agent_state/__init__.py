"""State that agents share: what a key may be, who wrote it, and which version stands."""
