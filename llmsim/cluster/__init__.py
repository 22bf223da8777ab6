"""Instances behind a router, and the users and clients in front of it."""
