"""Tests of playhead_projections.crystallization."""
