"""An agent that forgets to return its predictions."""


class Agent:
    def __init__(self, output_dim=10, seed=None):
        self.seed = seed

    def reset(self):
        pass

    def train(self, X_train, y_train):
        pass

    def predict(self, X_test):
        pass
