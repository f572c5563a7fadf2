"""Power loss: every file the store could leave behind when the power goes, and what it makes of it."""
