"""Real processes on a real file, killed at random moments."""
