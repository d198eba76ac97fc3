"""Authentication, authorization, rate limits and admission control."""
