"""OpenEnv's surface: the environment of a session."""
