"""One engine instance: its main loop, the states of its requests, its memory and its steps."""
