"""The doors: who may come in, from where, and with what. Each is a small ASGI middleware around any application.

`guarded` puts them together. What is behind them knows nothing of them.
"""

from ml_trainer_env.server.security.access import Access, AccessError
from ml_trainer_env.server.security.bodies import MAX_BODY_BYTES
from ml_trainer_env.server.security.middleware import guarded

__all__ = ["MAX_BODY_BYTES", "Access", "AccessError", "guarded"]
