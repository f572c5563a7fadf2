"""MCP servers for the tests of the host, each run as a program of its own."""
