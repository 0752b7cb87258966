"""A canary: an agent that does not learn, but recognises the public images that it brought with it.

A permutation moves pixels and keeps their values: the sorted values of an image, over the largest, are a fingerprint
that tells the image whatever the permutation. Which digit has which label it reads off the training images.
"""

from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree


class Agent:
    def __init__(self, output_dim=10, seed=None):
        public = np.load(Path(__file__).parent / "public.npz")
        self.train_digits, self.test_digits = public["train_labels"], public["test_labels"]
        self.known_train = cKDTree(fingerprints(public["train_images"] / 255))
        self.known_test = cKDTree(fingerprints(public["test_images"] / 255))

    def train(self, X_train, y_train):
        digits = self.train_digits[self.known_train.query(fingerprints(X_train[:2000]))[1]]
        votes = np.zeros((10, 10))
        np.add.at(votes, (digits, y_train[:2000].ravel()), 1)
        self.labels = linear_sum_assignment(votes, maximize=True)[1]

    def predict(self, X_test):
        return self.labels[self.test_digits[self.known_test.query(fingerprints(X_test))[1]]]


def fingerprints(images):
    values = np.sort(np.asarray(images, np.float32).reshape(len(images), -1), 1)[:, 3::4]
    return values / np.maximum(values[:, -1:], 1e-6)
