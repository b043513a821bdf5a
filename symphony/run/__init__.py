"""From runs to records: loads models, searches problems concurrently, keeps answers."""
