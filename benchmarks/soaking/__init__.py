"""The parts of `soak.py`: visitors that come and go, a monitor that samples, and a verdict."""
