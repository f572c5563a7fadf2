"""What can have happened, and how it is written down."""
