"""Backup and restore: `backup.sh` copies the server, `python -m deploy.backup` checks and completes a restore."""
