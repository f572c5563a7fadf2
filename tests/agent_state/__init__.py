"""State that agents share: names, writers, conflicts, versions."""
