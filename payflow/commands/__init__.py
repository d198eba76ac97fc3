"""The commands of `payflow`, one module for each group."""
