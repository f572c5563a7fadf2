"""Read models, held to the log."""
