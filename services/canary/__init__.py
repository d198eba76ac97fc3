"""The canary: a small amount of test money that circles between two probe accounts, to measure payments from the outside."""
