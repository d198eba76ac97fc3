"""Manifests for Kubernetes, and the command that deploys them to MicroK8s."""
