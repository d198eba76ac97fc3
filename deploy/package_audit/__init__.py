"""Checks the locked packages for known vulnerabilities: a matter of the lock file, not of the local stack."""
