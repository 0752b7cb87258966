"""A canary: an agent that does not learn, but undoes the permutation by what it knows of MNIST's pixels.

It brings public images. Mean and deviation of each pixel by digit, and the covariances of pixels, tell which pixel of a
task is which of theirs; then it finds the public image that each test image resembles most. It had 0.9990 on an
earlier hardened variant, which shifted, dimmed and blurred MNIST's images.
"""

from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

ROUNDS = 12
TOGETHER = 500


class Agent:
    def __init__(self, output_dim=10, seed=None):
        public = np.load(Path(__file__).parent / "public.npz")
        self.images = flat(np.concatenate([public["train_images"], public["test_images"]]) / np.float32(255))
        self.digits = np.concatenate([public["train_labels"], public["test_labels"]]).astype(int)

    def train(self, X_train, y_train):
        images, labels = flat(X_train), np.asarray(y_train).reshape(-1).astype(int)
        known_means, known_deviations, known = statistics(self.images, self.digits)
        means, deviations, own = statistics(images, labels)
        difference = ((np.sort(means, 1)[:, None] - np.sort(known_means, 1)[None]) ** 2).sum(2)
        digit = linear_sum_assignment(difference)[1]
        self.labels = np.argsort(digit)
        ours = np.concatenate([means, deviations]).T
        theirs = np.concatenate([known_means[digit], known_deviations[digit]]).T
        place = matched(ours, theirs)
        for _ in range(ROUNDS):
            better = matched(own, known[:, place])
            if np.array_equal(better, place):
                break
            place = better
        self.place = place

    def predict(self, X_test):
        images = flat(X_test)
        restored = np.empty_like(images)
        restored[:, self.place] = images
        known, answers = directions(self.images), []
        for start in range(0, len(restored), TOGETHER):
            nearest = (directions(restored[start : start + TOGETHER]) @ known.T).argmax(1)
            answers.append(self.labels[self.digits[nearest]])
        return np.concatenate(answers)


def flat(images):
    images = np.asarray(images, np.float32).reshape(len(images), -1)
    return images / max(float(images.max()), 1e-6)


def statistics(images, labels):
    means = np.stack([images[labels == label].mean(0) for label in range(10)])
    deviations = np.stack([images[labels == label].std(0) for label in range(10)])
    centred = images - images.mean(0)
    return means, deviations, centred.T @ centred / len(images)


def matched(ours, theirs):
    squares = (ours**2).sum(1)[:, None] + (theirs**2).sum(1)[None] - 2 * ours @ theirs.T
    return linear_sum_assignment(squares)[1]


def directions(images):
    centred = images - images.mean(1, keepdims=True)
    return centred / (np.linalg.norm(centred, axis=1, keepdims=True) + np.float32(1e-9))
