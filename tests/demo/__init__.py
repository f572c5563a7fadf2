"""The demo is told for real, in processes that really die."""
