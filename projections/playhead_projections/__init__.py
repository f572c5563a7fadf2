"""Read models of a log and the command line: everything here can be deleted and built again from the events."""
