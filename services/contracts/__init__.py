"""What the services say to each other: money, identifiers, messages, topology, refusals. Standard library only."""
