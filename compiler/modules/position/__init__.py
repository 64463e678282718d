"""Position encodings: rotary tables, ALiBi, relative buckets, sinusoids and log-n scaling, computed once per call."""
