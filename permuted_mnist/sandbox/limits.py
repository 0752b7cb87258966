"""What a sandboxed program may use."""

from dataclasses import dataclass

__all__ = ["Limits"]

MB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds, the competition's where it names them.

    Attributes:
        wall_s: Seconds for the work itself, from the moment that its data are delivered.
        start_s: Seconds before that, for imports and the constructor.
        memory_bytes: Memory of all its processes together, files in its scratch folder included.
        cpus: Processors.
        processes: Processes and threads together.
        scratch_bytes: Files in its scratch folder together, and the size of any one file.
        log_bytes: What it may write to standard output and standard error together.
        answer_bytes: The largest answer.
    """

    wall_s: float = 60.0
    start_s: float = 60.0
    memory_bytes: int = 4096 * MB
    cpus: int = 2
    processes: int = 256
    scratch_bytes: int = 512 * MB
    log_bytes: int = 16 * MB
    answer_bytes: int = 4 * MB
