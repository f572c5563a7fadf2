"""The trust graph as a read model of the log: records in one chain, grants, and what other policies say."""
