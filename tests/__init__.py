"""The tests, one package, so that they can share helpers as `tests.<module>`."""
