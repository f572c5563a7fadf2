"""Compositions as the log tells them: what was called, how it ended, and what others want to know of it."""
