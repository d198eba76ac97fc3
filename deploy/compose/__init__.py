"""PayFlow on one machine with Docker Compose."""
