"""Receipts, proofs and bundles."""
