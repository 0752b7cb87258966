"""An agent that ends its process politely."""

import sys

import numpy as np


class Agent:
    def __init__(self, output_dim=10, seed=None):
        self.seed = seed

    def reset(self):
        pass

    def train(self, X_train, y_train):
        sys.exit(0)

    def predict(self, X_test):
        return np.zeros(len(X_test), np.int64)
