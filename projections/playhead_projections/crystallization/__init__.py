"""Crystallization: what agents did again and again, mined out of their traces and turned into a workflow."""
