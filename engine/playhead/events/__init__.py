"""Floor 1: what can have happened. The catalog of facts, their codec, upcasters and redaction."""
