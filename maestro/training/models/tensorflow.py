"""A network fitted by TensorFlow, in one process or by MultiWorkerMirroredStrategy."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from maestro.core.errors import BadInput
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import Group, tensorflow_config
from maestro.training.models.framework import Framework
from maestro.training.models.network_training import Layers, Plan


class TensorFlow(Framework):
    """`params`: hidden (widths, [64, 32]), epochs, batch_size, lr, checkpoint_steps, task."""

    name = "tensorflow"
    package = "tensorflow"

    @staticmethod
    def _fit(
        plan: Plan, widths: list[int], rows: np.ndarray, answers: np.ndarray, group: Group, checkpoints: Checkpoints | None,
        told: Callable[[int, float, float], None],
    ) -> tuple[Layers, int]:  # fmt: skip
        if plan.batch < group.world:
            raise BadInput(
                f"a batch of {plan.batch} cannot be shared by {group.world} workers",
                field="params.batch_size",
                remedy="raise it",
            )
        if group.world > 1 and "TF_CONFIG" not in os.environ:
            os.environ["TF_CONFIG"] = tensorflow_config(group)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        strategy = tf.distribute.MultiWorkerMirroredStrategy() if group.world > 1 else tf.distribute.get_strategy()
        with strategy.scope():
            tf.keras.utils.set_random_seed(plan.seed)
            layers = [
                tf.keras.layers.Dense(width, activation="relu" if at < len(widths) - 2 else None)
                for at, width in enumerate(widths[1:])
            ]
            network = tf.keras.Sequential([tf.keras.Input((widths[0],)), *layers])
            optimiser = tf.keras.optimizers.Adam(plan.lr)
            optimiser.build(network.trainable_variables)
        classifies = answers.dtype == np.int64
        crossentropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")

        def step(inputs: Any, targets: Any, of: Any) -> Any:
            with tf.GradientTape() as tape:
                values = network(inputs, training=True)
                each = crossentropy(targets, values) if classifies else tf.square(values[:, 0] - targets)
                loss = tf.reduce_sum(each) / of
            gradients = tape.gradient(loss, network.trainable_variables)
            optimiser.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
            return loss

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def together(inputs: Any, targets: Any, of: Any) -> Any:
            each = strategy.run(step, args=(inputs, targets, of))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)

        variables = [*network.variables, *optimiser.variables]
        steps = max(1, (len(rows) + plan.batch - 1) // plan.batch)
        done = resumed = _restore(variables, checkpoints)
        for epoch in range(done // steps + 1, plan.epochs + 1):
            began, total = time.perf_counter(), 0.0
            order = np.random.default_rng((plan.seed, epoch)).permutation(len(rows))
            for at in range(done % steps, steps):
                batch = order[at * plan.batch : (at + 1) * plan.batch]
                mine = batch[group.rank :: group.world]
                total += float(
                    together(tf.constant(rows[mine]), tf.constant(answers[mine]), tf.constant(float(len(batch))))
                )
                done += 1
                if checkpoints is not None and done % plan.every == 0 and done < steps * plan.epochs:
                    buffer = io.BytesIO()
                    np.savez(buffer, *[item.numpy() for item in variables])
                    checkpoints.save(done, buffer.getvalue())
            if not np.isfinite(total):
                raise BadInput(f"the loss became {total}", field="params.lr", remedy="lower it")
            told(epoch, total / steps, time.perf_counter() - began)
        if checkpoints is not None:
            checkpoints.clear()
        return [
            (layer.kernel.numpy().astype(np.float64), layer.bias.numpy().astype(np.float64)) for layer in layers
        ], resumed


def _restore(variables: list[Any], checkpoints: Checkpoints | None) -> int:
    saved = checkpoints.latest() if checkpoints is not None else None
    if saved is None:
        return 0
    with np.load(io.BytesIO(saved.state), allow_pickle=False) as state:
        for at, item in enumerate(variables):
            item.assign(state[f"arr_{at}"])
    return saved.step
