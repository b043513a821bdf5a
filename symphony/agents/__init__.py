"""Who is asked, what it costs, what it is worth, and what is remembered."""
