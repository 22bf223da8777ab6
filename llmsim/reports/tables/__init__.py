"""Tables for a terminal or a file, one module for each command."""
