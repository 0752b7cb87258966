"""Graders of OpenEnv's validation levels 2 and 3, figures of level 4, and a command that runs them without Docker.

The graders know an environment by OpenEnv's public interfaces alone: `/ws`, the task API and the manifest. So they
grade any OpenEnv environment. They are entry points of the group `openenv.validation.graders`. `docs/validation.md`
says what each one checks and what an environment declares.

Beside these modules lie the declarations of this environment: `runtime.json`, `oracles/` and `canaries.json`. They are
no part of the wheel or of the image.
"""
