"""Compositions: small programs over tools that a manifest names."""
