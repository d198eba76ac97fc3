"""Passwords and keys of a deployment, and the files that each of its containers gets."""
