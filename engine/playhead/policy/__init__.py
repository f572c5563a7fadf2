"""Floor 2: pure decisions. Nothing here touches a clock, a file or a task."""
