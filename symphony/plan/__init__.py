"""From configs to runs: composes the configs, checks them, and names the runs by digest."""
