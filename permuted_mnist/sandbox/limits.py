"""Resource limits of a sandboxed program."""

from dataclasses import dataclass

__all__ = ["Limits"]

MB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits. The defaults are the competition's if it defines them.

    Attributes:
        wall_s: Seconds for the work, from the delivery of the data.
        start_s: Seconds for imports and the constructor, before the delivery.
        memory_bytes: Memory of all its processes together, including files in its scratch folder.
        cpus: Number of processors.
        processes: Number of processes and threads together.
        scratch_bytes: Total size of the files in its scratch folder, and size of any one file.
        log_bytes: Bytes written to standard output and standard error together.
        answer_bytes: Size of an answer.
    """

    wall_s: float = 60.0
    start_s: float = 60.0
    memory_bytes: int = 4096 * MB
    cpus: int = 2
    processes: int = 256
    scratch_bytes: int = 512 * MB
    log_bytes: int = 16 * MB
    answer_bytes: int = 4 * MB
