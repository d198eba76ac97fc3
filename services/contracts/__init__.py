"""What the services share: money, identifiers, limits, messages, topology, refusals. Standard library only."""
