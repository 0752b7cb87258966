"""The challenge as an environment: the competition's own interface, and Gymnasium's."""
