"""OpenEnv's surface: the environment that its sessions use, and what it tells of tasks and episodes."""
