"""The usual from-scratch NumPy network, as a yardstick: what tutorials write.

Fresh arrays at every operation, a list of parameter arrays, one-hot labels, Adam as a loop over
the list. The same mathematics as fastnn: He's start is passed in, ReLU, softmax with cross-entropy,
Adam with eps outside the root, no gradient of the images. Computes in the dtype of the weights.
"""

from __future__ import annotations

import numpy as np


class FromScratch:
    def __init__(self, weights, biases, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.params = [*weights, *biases]
        self.depth = len(weights)
        self.m = [np.zeros_like(p) for p in self.params]
        self.v = [np.zeros_like(p) for p in self.params]
        self.t = 0
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps

    def step(self, images, labels):
        """One step on raw bytes (B, D) and labels (B,); returns the mean loss."""
        dtype = self.params[0].dtype
        x = images.astype(dtype) / dtype.type(255)
        onehot = np.eye(self.params[self.depth - 1].shape[1], dtype=dtype)[labels]
        weights, biases = self.params[: self.depth], self.params[self.depth :]
        activations = [x]
        for n, (w, b) in enumerate(zip(weights, biases, strict=True)):
            z = activations[-1] @ w + b
            activations.append(np.maximum(z, 0) if n < self.depth - 1 else z)
        shifted = activations[-1] - activations[-1].max(axis=1, keepdims=True)
        exps = np.exp(shifted)
        probabilities = exps / exps.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(onehot * np.log(probabilities + dtype.type(1e-12)), axis=1))

        dz = (probabilities - onehot) / dtype.type(len(x))
        weight_grads, bias_grads = [None] * self.depth, [None] * self.depth
        for n in reversed(range(self.depth)):
            weight_grads[n] = activations[n].T @ dz
            bias_grads[n] = dz.sum(axis=0)
            if n > 0:
                dz = (dz @ weights[n].T) * (activations[n] > 0)

        self.t += 1
        for n, gradient in enumerate([*weight_grads, *bias_grads]):
            self.m[n] = self.beta1 * self.m[n] + (1 - self.beta1) * gradient
            self.v[n] = self.beta2 * self.v[n] + (1 - self.beta2) * gradient**2
            m_hat = self.m[n] / (1 - self.beta1**self.t)
            v_hat = self.v[n] / (1 - self.beta2**self.t)
            self.params[n] = self.params[n] - self.lr * m_hat / (np.sqrt(v_hat) + self.eps)
        return loss
