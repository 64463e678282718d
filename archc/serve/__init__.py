"""The HTTP server: plans behind the endpoints of OpenAI's API. Imports the runtime and the plan format, no compiler."""
