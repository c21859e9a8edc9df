"""`train_mnist_tensorflow.py`: MNIST with TensorFlow, over several workers by MultiWorkerMirroredStrategy."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maestro.core.canonical import digest
from maestro.core.errors import BadInput
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import Group, tensorflow_config
from maestro.training.examples import options
from maestro.training.examples.images import Pictures, mnist
from maestro.training.examples.record import Record

MODULE = "maestro.training.examples.train_mnist_tensorflow"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parse = options.parser(
        "train_mnist_tensorflow.py",
        "Train a small convolutional network on MNIST with TensorFlow.",
        epochs=2,
        batch=64,
        lr=0.001,
    )
    parse.add_argument("--output", type=Path, default=None, help="write the weights (.weights.h5) to this file")
    return options.run(sys.argv[1:] if arguments is None else arguments, parse, _train, MODULE)


def _train(given: argparse.Namespace, group: Group) -> None:
    if given.output is not None and not given.output.name.endswith(".weights.h5"):
        raise BadInput(f"{given.output} does not end in .weights.h5", field="--output", remedy="name it so")
    pictures = mnist(given.data_dir)
    if group.world > 1 and "TF_CONFIG" not in os.environ:
        os.environ["TF_CONFIG"] = tensorflow_config(group)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    if given.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    try:
        import tensorflow as tf
    except ImportError as error:
        raise options.needs("tensorflow", "tensorflow", error) from None
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    gpus = tf.config.list_physical_devices("GPU")
    if given.device == "cuda" and not gpus:
        raise BadInput("no CUDA device is here", field="--device", remedy="use --device cpu")
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if group.world > 1 else tf.distribute.get_strategy()
    data = {"name": pictures.name, "version": pictures.version, "source": pictures.source, "rows": len(pictures.train)}
    record = Record("mnist_tensorflow", group, data=data, cores=given.threads, gpus=len(gpus))
    record.say(f"device: {'cuda' if gpus else 'cpu'}" + (f" × {group.world} workers" if group.world > 1 else ""))
    record.say(f"data: {pictures.about}")
    flags = {key: getattr(given, key) for key in ("epochs", "batch_size", "lr", "seed", "checkpoint_steps")}
    record.params(flags | {"workers": group.world})
    with strategy.scope():
        tf.keras.utils.set_random_seed(given.seed)
        network = _network(tf)
        optimiser = tf.keras.optimizers.Adam(given.lr)
        optimiser.build(network.trainable_variables)
    checkpoints = None
    if given.checkpoint_dir is not None:
        identity = digest({"script": MODULE, "data": pictures.version, "flags": flags, "workers": group.world})
        checkpoints = Checkpoints(given.checkpoint_dir, identity, writes=group.leads)
    metrics = _fit(tf, strategy, network, optimiser, pictures, given, group, record, checkpoints)
    if group.leads:
        if given.output is not None:
            network.save_weights(str(given.output))
        record.end(metrics, given.output)


def _network(tf: Any) -> Any:
    layers = tf.keras.layers
    return tf.keras.Sequential([
        tf.keras.Input((28, 28, 1)), layers.Conv2D(32, 3, activation="relu"), layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(10),
    ])  # fmt: skip


def _fit(
    tf: Any, strategy: Any, network: Any, optimiser: Any, pictures: Pictures, given: argparse.Namespace, group: Group, record: Record,
    checkpoints: Checkpoints | None,
) -> dict[str, float]:  # fmt: skip
    """A loop of our own, so that a step's rows follow from (seed, epoch) and a checkpoint can lie between any two steps."""
    crossentropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    images, labels = pictures.train.transpose(0, 2, 3, 1), pictures.train_labels

    def step(rows: Any, answers: Any, of: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(crossentropy(answers, network(rows, training=True))) / of
        optimiser.apply_gradients(
            zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables, strict=True)
        )
        return loss

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def together(rows: Any, answers: Any, of: Any) -> Any:
        each = strategy.run(step, args=(rows, answers, of))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)

    steps = max(1, (len(images) + given.batch_size - 1) // given.batch_size)
    done, total = _restore(network, optimiser, checkpoints)
    if done:
        record.say(f"going on from the checkpoint after step {done}")
    if done % steps == 0:
        total = 0.0
    metrics: dict[str, float] = {}
    for epoch in range(done // steps + 1, given.epochs + 1):
        began = time.perf_counter()
        order = np.random.default_rng((given.seed, epoch)).permutation(len(images))
        for at in range(done % steps, steps):
            rows = order[at * given.batch_size : (at + 1) * given.batch_size]
            mine = rows[group.rank :: group.world]
            loss = together(tf.constant(images[mine]), tf.constant(labels[mine]), tf.constant(float(len(rows))))
            total += float(loss)
            done += 1
            if checkpoints is not None and done % given.checkpoint_steps == 0 and done < steps * given.epochs:
                checkpoints.save(done, _state(network, optimiser, total))
        if not np.isfinite(total):
            raise BadInput(f"the loss became {total}", field="--lr", remedy="lower the learning rate")
        metrics = {"loss": total / steps, "accuracy": _accuracy(network, pictures)}
        record.epoch(epoch, given.epochs, metrics, time.perf_counter() - began)
        total = 0.0
    if checkpoints is not None:
        checkpoints.clear()
    return metrics or {"accuracy": _accuracy(network, pictures)}


def _accuracy(network: Any, pictures: Pictures) -> float:
    images = pictures.test.transpose(0, 2, 3, 1)
    right = sum(
        int(
            (
                np.argmax(network(images[at : at + 1000], training=False).numpy(), axis=1)
                == pictures.test_labels[at : at + 1000]
            ).sum()
        )
        for at in range(0, len(images), 1000)
    )
    return right / len(images)


def _variables(network: Any, optimiser: Any) -> list[Any]:
    return [*network.variables, *optimiser.variables]


def _state(network: Any, optimiser: Any, total: float) -> bytes:
    import io

    buffer = io.BytesIO()
    values = {str(at): np.asarray(item.numpy()) for at, item in enumerate(_variables(network, optimiser))}
    np.savez(buffer, allow_pickle=False, total=np.float64(total), **values)
    return buffer.getvalue()


def _restore(network: Any, optimiser: Any, checkpoints: Checkpoints | None) -> tuple[int, float]:
    import io

    saved = checkpoints.latest() if checkpoints is not None else None
    if saved is None:
        return 0, 0.0
    with np.load(io.BytesIO(saved.state), allow_pickle=False) as state:
        for at, item in enumerate(_variables(network, optimiser)):
            item.assign(state[str(at)])
        return saved.step, float(state["total"])


if __name__ == "__main__":
    sys.exit(main())
