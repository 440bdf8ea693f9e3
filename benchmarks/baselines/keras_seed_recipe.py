"""The usual recipe, as a Keras 3 / TensorFlow programme, to measure against.

A frozen EfficientNet-B0, global average pooling and one sigmoid unit, trained with Adam for ten
epochs. Every epoch reads and decodes every file and runs the frozen network on it again: that is
what this recipe costs, so nothing is cached. It reads the folder tree that `keshikaran link`
writes, `<root>/<train|validation|test>/<0|1>/*.jpg`, through Keras's own loader, and prints one
JSON object on standard output; progress goes to standard error.

Run it with the Python of the environment `keras` (see `environment.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peak_memory import peak_rss_mb

if TYPE_CHECKING:
    from collections.abc import Iterator

SPLITS = ("train", "validation", "test")
CLASSES = ("0", "1")
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")  # what Keras's loader reads
SIDE = 224
RECIPE_EPOCHS = 10
SEED = 0


@dataclass
class Epochs:
    """Wall-clock seconds of each epoch, its validation included."""

    seconds: list[float] = field(default_factory=list)
    _began: float = 0.0

    def begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Note when an epoch began; Keras calls it."""
        self._began = time.perf_counter()

    def end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Note when it ended and say so on standard error; Keras calls it after validation."""
        self.seconds.append(time.perf_counter() - self._began)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        say(f"epoch {epoch + 1}: {self.seconds[-1]:.1f} s  {figures}")

    def extrapolate(self, test_s: float) -> dict[str, float | None]:
        """Return the seconds of the parts, and what ten epochs and the test come to.

        The first epoch stands apart because it also traces the graph. With one epoch only there
        is nothing to go by for the later ones: those figures are None.
        """
        first_s, later_s = self.seconds[0], None
        total_s = None
        if len(self.seconds) > 1:
            later_s = statistics.median(self.seconds[1:])
            total_s = first_s + (RECIPE_EPOCHS - 1) * later_s + test_s
        return {
            "first_epoch_s": first_s,
            "later_epoch_s": later_s,
            "test_s": test_s,
            "extrapolated_total_s_for_10_epochs": total_s,
        }


def say(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def list_images(root: Path) -> dict[str, list[Path]]:
    """Return each split's files, class 0 before class 1, in the order of their names."""
    found = {
        split: [
            path
            for label in CLASSES
            for path in sorted((root / split / label).glob("*"))
            if path.suffix.lower() in EXTENSIONS
        ]
        for split in SPLITS
    }
    empty = [split for split, paths in found.items() if not paths]
    if empty:
        raise SystemExit(f"{root}: no images under {', '.join(empty)} (expected <split>/<0|1>/)")
    return found


def spread(paths: list[Path], count: int) -> list[Path]:
    """Return `count` of the paths, evenly spaced, so that the shares of the classes stay."""
    return [paths[i * len(paths) // count] for i in range(count)]


@contextmanager
def limited_tree(root: Path, limit: int | None) -> Iterator[Path]:
    """Give a tree with at most `limit` training images.

    Validation and test shrink in the same proportion, so that an epoch keeps its make-up and the
    time of a later epoch can be scaled up. The first epoch's cannot: it holds fixed costs, the
    tracing of the graph and the first use of the memory. The small tree is temporary, of links.
    """
    images = list_images(root)
    total = len(images["train"])
    if limit is None or limit >= total:
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="keras-recipe-") as folder:
        for split, paths in images.items():
            for label in CLASSES:
                (Path(folder) / split / label).mkdir(parents=True)
            for path in spread(paths, max(1, round(len(paths) * limit / total))):
                (Path(folder) / split / path.parent.name / path.name).symlink_to(path.resolve())
        yield Path(folder)


def load_split(root: Path, split: str, batch_size: int) -> Any:  # noqa: ANN401 - a tf.data.Dataset
    """Return one split as Keras loads it: stretched to the input size, nearest neighbour.

    Decoding runs in parallel, as many threads as tf.data finds best. The last, smaller batch is
    kept: no image is left out.
    """
    import keras

    return keras.utils.image_dataset_from_directory(
        root / split,
        label_mode="binary",
        class_names=list(CLASSES),
        batch_size=batch_size,
        image_size=(SIDE, SIDE),
        interpolation="nearest",
        shuffle=split == "train",
        seed=SEED,
        verbose=False,
    )


def build_model(weights: str) -> Any:  # noqa: ANN401 - a keras.Model
    """Return the compiled model: frozen EfficientNet-B0, pooling, one sigmoid unit.

    The recipe's pixel/255 is not a step of the loader here: Keras's EfficientNet begins with a
    `Rescaling(1/255)` of its own (and, with ImageNet weights, the channels' normalisation), so
    it must be given pixels from 0 to 255. Dividing before it would divide twice.
    """
    import keras

    try:
        backbone = keras.applications.EfficientNetB0(
            include_top=False,
            weights=None if weights == "none" else weights,
            input_shape=(SIDE, SIDE, 3),
        )
    except Exception as error:  # Keras raises no narrower one when a download fails
        raise SystemExit(f"cannot build EfficientNet-B0 with weights {weights}: {error}") from error
    backbone.trainable = False
    inputs = keras.Input((SIDE, SIDE, 3))
    # training=False: a frozen network answers the same each time (no drop-connect, fixed
    # batch-normalisation statistics).
    features = keras.layers.GlobalAveragePooling2D()(backbone(inputs, training=False))
    outputs = keras.layers.Dense(1, activation="sigmoid")(features)
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(), loss="binary_crossentropy", metrics=["accuracy"]
    )
    return model


def train_and_test(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run the recipe on a tree and return its figures, memory not among them."""
    began = time.perf_counter()
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    data = {split: load_split(root, split, options.batch_size) for split in SPLITS}
    counts = {split: len(data[split].file_paths) for split in SPLITS}
    say(f"{counts} images, {options.epochs} epochs, batches of {options.batch_size}")
    model = build_model(options.weights)
    epochs = Epochs()
    ready = time.perf_counter()
    model.fit(
        data["train"],
        validation_data=data["validation"],
        epochs=options.epochs,
        shuffle=False,  # the loader has shuffled, anew in each epoch
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=epochs.begin, on_epoch_end=epochs.end)
        ],
    )
    fitted = time.perf_counter()
    test_loss, test_accuracy = model.evaluate(data["test"], verbose=0)
    ended = time.perf_counter()
    passes = options.epochs * (counts["train"] + counts["validation"]) + counts["test"]
    return {
        **{f"{split}_images": counts[split] for split in SPLITS},
        "image_passes": passes,
        "wall_s": ended - began,
        "setup_s": ready - began,
        "work_s": ended - ready,
        "image_passes_per_s": passes / (ended - ready),
        **epochs.extrapolate(test_s=ended - fitted),
        "test_loss": float(test_loss),
        "test_accuracy": float(test_accuracy),
        "parameters": model.count_params(),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the object that is printed: options, image counts, seconds, rates, memory."""
    with limited_tree(options.root, options.limit) as root:
        figures = train_and_test(root, options)
    result = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "weights": options.weights,
        **figures,
        "peak_rss_mb": peak_rss_mb(),
    }
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}


def positive(text: str) -> int:
    """Read a whole number of at least 1 from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure the usual Keras recipe on a tree of image folders.",
        epilog="setup_s is importing, listing and building, work_s is epochs and test, wall_s is "
        "both; image_passes_per_s is over work_s. The figure for 10 epochs is first_epoch_s + 9 × "
        "later_epoch_s + test_s, null with one epoch only.",
    )
    parser.add_argument("root", type=Path, help="tree <root>/<train|validation|test>/<0|1>/*.jpg")
    parser.add_argument("--epochs", type=positive, default=RECIPE_EPOCHS)
    parser.add_argument("--batch-size", type=positive, default=512)
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="use N training images only, and as small a share of validation and test",
    )
    parser.add_argument(
        "--weights",
        choices=("none", "imagenet"),
        default="none",
        help="none: random weights, right for timing only; imagenet: Keras downloads them",
    )
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    options = parse_options()
    with redirect_stdout(sys.stderr):  # Keras talks on standard output while it downloads
        result = measure(options)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
