"""Read models of a log, and the command line: all that can be deleted and built again from the events."""
