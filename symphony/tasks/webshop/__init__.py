"""WebShop: a catalogue to search, pages to click, and the reward of a purchase."""
