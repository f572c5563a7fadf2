"""The programs whose runs lie in replay_fixtures/, by subject, and how each of them was recorded.

A program here is never edited once a run of it is recorded: the tapes are promises, and these are what they
are promised to. New tapes bring new programs.
"""
