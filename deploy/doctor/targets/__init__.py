"""What is recorded of each kind of deployment, and the checks that apply to it."""
