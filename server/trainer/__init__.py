"""The trainer: a pure core that turns a training state into the next one.

Import what you need from the submodules: `config`, `limits`, `schedules` and `state` work
without torch; `engine`, `networks`, `data`, `augmentation` and `optimizers` need it.
"""
