"""The arena: a competition service, its workers, and its client.

    from ml_trainer_env.arena import connect
    client = connect("mlk_user_...", base_url="http://127.0.0.1:5000")

The client needs neither torch nor the service.
"""

from ml_trainer_env.arena.client import Client, connect

__all__ = ["Client", "connect"]
