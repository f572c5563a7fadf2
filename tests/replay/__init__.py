"""Tapes, played again: whole, cut, and with changed programs."""
