"""A discrete-event model of a deployment: constants that were measured, predictions, and runs to compare them with."""
