"""What models are told, and how what they say is read."""
