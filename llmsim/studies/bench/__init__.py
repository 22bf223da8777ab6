"""How fast llmsim is, measured so that it can be compared: against SimPy's bare events on the same machine."""
