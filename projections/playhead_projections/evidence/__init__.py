"""Evidence: what is handed over of a run, so that somebody without the log can check it."""
