"""One typed client per upstream service: the only place that knows its paths, bodies and query parameters."""
