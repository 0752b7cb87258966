"""The fleet: an agent watches a training run on many ranks and puts right what breaks."""
