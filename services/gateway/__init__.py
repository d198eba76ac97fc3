"""The public door: who is calling, how often, with which key; then the service behind that knows. It owns no database."""
