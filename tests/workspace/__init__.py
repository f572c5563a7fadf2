"""Ready tools under a directory."""
