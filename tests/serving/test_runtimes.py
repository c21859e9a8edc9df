"""One suite for every runtime, on real tiny models; and what only one of them promises."""

from __future__ import annotations

import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.errors import BadInput
from maestro.serving.contract import Validator
from maestro.serving.runtimes import ModelFailed, ModelRuntime, ModelTimeout, detect, runtime_for
from maestro.serving.table import Batch, Table
from tests.serving.conftest import Trained, eventually

ODD_MODEL = '''
import os, socket, sys, time
import mlflow

try:
    open({marker!r}, "a").write("loaded by %d" % os.getpid())
except PermissionError:
    pass

class Odd(mlflow.pyfunc.PythonModel):
    """Does what its first column says."""

    def predict(self, context, model_input, params=None):
        what = int(model_input["x0"].iloc[0])
        if what == 1:
            time.sleep(float(model_input["x1"].iloc[0]))
        if what == 2:
            os._exit(9)
        if what == 3:
            raise ValueError("it does not like 3")
        if what == 4:
            print("a line that must not land in the answers", flush=True)
        if what == 5:
            return [0]
        if what == 6:
            try:
                socket.socket().connect(("127.0.0.1", 9))
            except OSError as error:
                return [type(error).__name__] * len(model_input)
            return ["connected"] * len(model_input)
        if what == 7:
            return [",".join(sorted(name for name in os.environ if "MAESTRO" in name)) or "none"] * len(model_input)
        return [str(os.getpid())] * len(model_input)

mlflow.models.set_model(Odd())
'''


@pytest.fixture(scope="session")
def sklearn_folder(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier as MLflow saves it."""
    folder = tmp_path_factory.mktemp("sklearn") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.sklearn

        mlflow.sklearn.save_model(trained.model, str(folder), pip_requirements=["scikit-learn"])
    return folder


@pytest.fixture(scope="session")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of code, which runs when it is loaded."""
    root = tmp_path_factory.mktemp("odd")
    script = root / "odd.py"
    script.write_text(ODD_MODEL.format(marker=str(root / "side-effect")))
    folder = root / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(str(folder), python_model=str(script), pip_requirements=["mlflow"])
    (root / "side-effect").unlink(missing_ok=True)
    return folder


def batch_of(contract: ModelContract, rows: np.ndarray) -> Batch:
    return Validator(contract).validate(Table(matrix=np.ascontiguousarray(rows, dtype=np.float64)))


class RuntimeSuite(ABC):
    """What every runtime owes; a new one subclasses this and says how it is made."""

    @pytest.fixture
    @abstractmethod
    def runtime(self) -> ModelRuntime:
        """A loaded runtime of the `trained` classifier."""

    def test_answers_like_the_model_in_the_order_of_the_rows(self, runtime: ModelRuntime, trained: Trained) -> None:
        batch = batch_of(trained.contract, trained.rows)
        assert batch.matrix is not None
        before = batch.matrix.copy()
        assert [int(value) for value in runtime.predict(batch, 10.0).values] == trained.answers
        assert np.array_equal(batch.matrix, before)

    def test_a_row_alone_gets_the_answer_that_it_gets_in_a_batch(self, runtime: ModelRuntime, trained: Trained) -> None:
        alone = [runtime.predict(batch_of(trained.contract, trained.rows[i : i + 1]), 10.0).values[0] for i in range(5)]
        assert [int(value) for value in alone] == trained.answers[:5]

    def test_several_threads_may_ask_at_once(self, runtime: ModelRuntime, trained: Trained) -> None:
        batch = batch_of(trained.contract, trained.rows[:20])
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda _: runtime.predict(batch, 10.0).values, range(12)))
        assert all([int(value) for value in values] == trained.answers[:20] for values in found)

    def test_close_may_be_called_twice_and_ends_answers(self, runtime: ModelRuntime, trained: Trained) -> None:
        runtime.close()
        runtime.close()
        with pytest.raises(ModelFailed):
            runtime.predict(batch_of(trained.contract, trained.rows[:1]), 1.0)


class TestOnnx(RuntimeSuite):
    @pytest.fixture
    def runtime(self, trained: Trained, tmp_path: Path) -> ModelRuntime:
        (tmp_path / "model.onnx").write_bytes(trained.onnx)
        runtime = runtime_for(detect(tmp_path), tmp_path, trained.contract)
        runtime.load()
        runtime.warm_up(Validator(trained.contract).sample())
        return runtime

    def test_is_quick_and_gives_scores(self, runtime: ModelRuntime, trained: Trained) -> None:
        assert runtime.quick
        scores = runtime.predict(batch_of(trained.contract, trained.rows[:3]), 1.0).scores
        assert scores is not None
        assert np.allclose(scores, trained.model.predict_proba(trained.rows[:3]), atol=1e-5)


@pytest.fixture(scope="module")
def pyfunc(trained: Trained, sklearn_folder: Path) -> Iterator[ModelRuntime]:
    """The model's process is slow to start, so one serves the whole suite, whose last test closes it."""
    runtime = runtime_for(detect(sklearn_folder), sklearn_folder, trained.contract)
    runtime.load()
    runtime.warm_up(Validator(trained.contract).sample())
    yield runtime
    runtime.close()


class TestPyfunc(RuntimeSuite):
    @pytest.fixture
    def runtime(self, pyfunc: ModelRuntime) -> ModelRuntime:
        return pyfunc


@pytest.fixture(scope="module")
def odd_contract() -> ModelContract:
    return ModelContract.build((Feature(name="x0"), Feature(name="x1")), Output(kind="regression"))


@pytest.fixture(scope="module")
def odd(odd_folder: Path, odd_contract: ModelContract) -> Iterator[ModelRuntime]:
    """A loaded process of the odd model, started by a process that has a secret in its environment."""
    os.environ["MAESTRO_TEST_SECRET"] = "not for models"
    runtime = runtime_for("pyfunc", odd_folder, odd_contract)
    runtime.load()
    del os.environ["MAESTRO_TEST_SECRET"]
    yield runtime
    runtime.close()


class TestModelProcess:
    """A model that executes code, in its own process."""

    def ask(
        self, runtime: ModelRuntime, contract: ModelContract, what: int, detail: float = 0.0, timeout_s: float = 10.0
    ) -> str:
        return str(runtime.predict(batch_of(contract, np.array([[what, detail]])), timeout_s).values[0])

    def test_its_code_ran_in_another_process_that_can_write_nothing(
        self, odd: ModelRuntime, odd_contract: ModelContract, odd_folder: Path
    ) -> None:
        assert int(self.ask(odd, odd_contract, 0)) != os.getpid()
        assert not (odd_folder.parent / "side-effect").exists()

    def test_it_has_neither_network_nor_credentials(self, odd: ModelRuntime, odd_contract: ModelContract) -> None:
        assert self.ask(odd, odd_contract, 6) == "PermissionError"
        assert self.ask(odd, odd_contract, 7) == "none"

    def test_what_it_prints_does_not_land_in_the_answers(self, odd: ModelRuntime, odd_contract: ModelContract) -> None:
        assert self.ask(odd, odd_contract, 4).isdigit()

    def test_what_it_raises_is_told_and_harms_nobody_else(self, odd: ModelRuntime, odd_contract: ModelContract) -> None:
        with pytest.raises(ModelFailed, match="it does not like 3"):
            self.ask(odd, odd_contract, 3)
        assert self.ask(odd, odd_contract, 0).isdigit()

    def test_a_wrong_number_of_answers_is_a_failure(self, odd: ModelRuntime, odd_contract: ModelContract) -> None:
        with pytest.raises(ModelFailed, match="one answer for each of 2 rows"):
            odd.predict(batch_of(odd_contract, np.array([[5.0, 0.0], [5.0, 0.0]])), 10.0)

    def test_a_slow_answer_is_a_timeout_and_does_not_answer_the_next(
        self, odd: ModelRuntime, odd_contract: ModelContract
    ) -> None:
        pid = self.ask(odd, odd_contract, 0)
        started = time.monotonic()
        with pytest.raises(ModelTimeout):
            self.ask(odd, odd_contract, 1, 0.6, timeout_s=0.1)
        assert time.monotonic() - started < 0.4
        assert self.ask(odd, odd_contract, 0) == pid

    def test_a_dead_process_is_replaced(self, odd: ModelRuntime, odd_contract: ModelContract) -> None:
        with pytest.raises(ModelFailed, match="died"):
            self.ask(odd, odd_contract, 2)
        with pytest.raises(ModelFailed):  # at once, not after a timeout
            self.ask(odd, odd_contract, 0)

        def answers() -> bool:
            try:
                return self.ask(odd, odd_contract, 0).isdigit()
            except ModelFailed:
                return False

        eventually(answers, timeout_s=60)


def test_an_unknown_runtime_is_refused_by_name(tmp_path: Path, odd_contract: ModelContract) -> None:
    with pytest.raises(BadInput, match="tensorrt") as caught:
        runtime_for("tensorrt", tmp_path, odd_contract)
    assert "onnx, pyfunc" in caught.value.remedy


def test_files_of_no_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"model\.onnx"):
        detect(tmp_path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, trained: Trained) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(BadInput, match=r"model\.onnx"):
        runtime_for("onnx", tmp_path, trained.contract).load()


def test_a_model_of_another_width_than_its_contract_is_refused(
    tmp_path: Path, trained: Trained, odd_contract: ModelContract
) -> None:
    (tmp_path / "model.onnx").write_bytes(trained.onnx)
    with pytest.raises(BadInput, match="2 features"):
        runtime_for("onnx", tmp_path, odd_contract).load()


def test_columns_of_several_types_are_fed_one_by_one(tmp_path: Path) -> None:
    """A pipeline with a text and a number column, whose ONNX form has one input a column."""
    import pandas as pd
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pd.DataFrame({"colour": ["red", "blue"] * 20, "size": np.arange(40.0)})
    target = (frame["colour"] == "red").astype(int)
    model = make_pipeline(
        ColumnTransformer([("c", OneHotEncoder(), ["colour"]), ("s", StandardScaler(), ["size"])]), LogisticRegression()
    ).fit(frame, target)
    onnx = to_onnx(
        model,
        initial_types=[("colour", StringTensorType([None, 1])), ("size", FloatTensorType([None, 1]))],
        options={id(model): {"zipmap": False}},
    )
    (tmp_path / "model.onnx").write_bytes(onnx.SerializeToString())
    contract = ModelContract.build(
        (Feature(name="colour", type="string"), Feature(name="size")), Output(kind="classification", classes=("0", "1"))
    )
    runtime = runtime_for("onnx", tmp_path, contract)
    runtime.load()
    batch = Validator(contract).validate(Table(records=[{"size": 3, "colour": "red"}, {"colour": "blue", "size": 4.5}]))
    assert runtime.predict(batch, 1.0).values == [1, 0]
