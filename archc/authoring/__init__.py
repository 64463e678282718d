"""Writing of specs: a draft from a config.json, and the difference of two specs in words."""
