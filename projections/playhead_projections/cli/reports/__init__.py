"""The forms of a report: what is told is the same in all, and stands in `sections`."""
