"""Who may send which requests, and how many."""
