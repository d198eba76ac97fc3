"""How any service runs: roles, settings, logs, tracing, metrics, health, HTTP, database, broker. It knows no money."""
