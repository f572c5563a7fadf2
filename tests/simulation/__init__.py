"""Random programs, crashed at random moments, resumed and replayed."""
