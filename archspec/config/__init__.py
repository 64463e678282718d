"""Values from a checkpoint's config.json: strict JSON, one spelling of rotary settings, defaults, derived names."""
