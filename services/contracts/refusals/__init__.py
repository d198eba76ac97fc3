"""The refusals of each service, defined once: the service raises them, and the gateway lists them in its OpenAPI document."""
