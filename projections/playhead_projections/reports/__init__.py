"""The whole report of a run, made of its read models: what it did, what that took, and who decided what."""
