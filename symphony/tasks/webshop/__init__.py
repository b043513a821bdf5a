"""WebShop: a catalogue to search, pages to click, and a reward for a purchase."""
