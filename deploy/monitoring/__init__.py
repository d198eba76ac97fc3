"""Monitoring: the configuration that depends on the machine. Everything else is below `monitoring/`, as plain files."""
