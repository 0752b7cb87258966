"""Access control: small ASGI middlewares that work with any application.

`security_middleware` combines them. The application does not depend on them.
"""

from ml_trainer_env.server.security.access import Access, AccessError
from ml_trainer_env.server.security.bodies import MAX_BODY_BYTES
from ml_trainer_env.server.security.middleware import security_middleware

__all__ = ["MAX_BODY_BYTES", "Access", "AccessError", "security_middleware"]
