"""Ready tools that change files, run programs and keep small values under one directory."""
