"""Loss curves, confusion matrix and misclassified digits -> one picture."""
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np


def draw_losses(axes, history):
    epochs = np.arange(1, len(history["train_loss"]) + 1)
    axes.plot(epochs, history["train_loss"], label="training (with dropout and shifts)")
    axes.plot(epochs, history["val_loss"], label="validation")
    axes.set(xlabel="epoch", ylabel="cross-entropy", title="Loss", yscale="log")
    axes.legend()


def draw_confusion(figure, axes, labels, predicted):
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    image = axes.imshow(counts, cmap="Blues")
    for (true, guess), n in np.ndenumerate(counts):
        if n:
            axes.text(guess, true, n, ha="center", va="center", color="white" if n > counts.max() / 2 else "black")
    axes.set(xlabel="predicted", ylabel="true", title="Test set", xticks=range(10), yticks=range(10))
    figure.colorbar(image, ax=axes, fraction=0.046)


def draw_mistakes(figure, cell, images, labels, predicted, most=12):
    wrong = np.flatnonzero(labels != predicted)[:most]
    grid = cell.subgridspec(3, 4, hspace=0.5)
    for place in range(most):
        axes = figure.add_subplot(grid[place // 4, place % 4])
        axes.axis("off")
        if place < len(wrong):
            i = wrong[place]
            axes.imshow(images[i, :, :, 0], cmap="gray_r")
            axes.set_title(f"{labels[i]} as {predicted[i]}", fontsize=9)


def save(path, history, images, labels, predicted):
    figure = plt.figure(figsize=(16, 5), layout="constrained")
    grid = figure.add_gridspec(1, 3)
    draw_losses(figure.add_subplot(grid[0]), history)
    draw_confusion(figure, figure.add_subplot(grid[1]), labels, predicted)
    draw_mistakes(figure, grid[2], images, labels, predicted)
    figure.suptitle("Handwritten digits: loss, confusion matrix, misclassified test digits")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
