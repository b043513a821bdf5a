"""What a study will take, before it is begun."""
