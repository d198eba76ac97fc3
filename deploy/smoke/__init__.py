"""One transfer through the published address of a deployment."""
