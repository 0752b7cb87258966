"""Put on the module search path of a submission's process, and so of the processes of its pools (see `submission`)."""
