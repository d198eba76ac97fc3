"""The auth service: users, passwords, sessions, and the keys that sign access tokens. Database `auth`."""
