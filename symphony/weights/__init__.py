"""Files of models: downloaded, checked, quantised."""
