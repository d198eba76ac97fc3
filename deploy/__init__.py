"""How PayFlow is brought up."""
