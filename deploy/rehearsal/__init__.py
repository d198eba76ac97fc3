"""A rehearsal of a deployment: the real image and the real Compose file, on podman, in namespaces that end with it."""
