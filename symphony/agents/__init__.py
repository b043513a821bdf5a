"""The agents: who is asked, what a call costs, what an answer is worth, and what is remembered."""
