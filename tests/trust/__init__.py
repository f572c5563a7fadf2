"""Trust records: their hashes, their chain and their files."""
