"""The program of a batch worker: loads the version by its plan and answers one piece after another.

stdin and stdout carry one JSON document a line. First an order: `files` (the version's verified private copy), `plans`, `private`, `parts`, `job`; then
a piece's number a line. It answers `{"path": …}` when it has loaded, `{"rows": n}` as rows are answered, `{"part": …}` when a piece is done, and
`{"problem": …}` when the rows or the model are at fault.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError
from maestro.security.confinement.kernel import die_with_parent
from maestro.serving.batch.columns import batch_of
from maestro.serving.batch.parts import BatchJob, Part, PartsFolder
from maestro.serving.loading import CONTRACT, read_contract
from maestro.serving.runtimes import Answers, ModelRuntime, Runtimes, detect

ROWS = 8192
"""Rows that are read and answered at once."""
_ANSWER_S = 600.0


def main() -> int:
    """Work until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not land between answers
    order = json.loads(sys.stdin.readline())
    die_with_parent(int(order["parent"]))
    try:
        worker = BatchWorker(order)
    except MaestroError as error:
        _say(answers, {"problem": error.problem(), "exit_code": error.exit_code})
        return 0
    _say(answers, {"path": worker.runtime.path})
    for line in sys.stdin:
        try:
            part = worker.answer(int(line), lambda rows: _say(answers, {"rows": rows}))
        except MaestroError as error:
            _say(answers, {"problem": error.problem(), "exit_code": error.exit_code})
            continue
        _say(answers, {"part": part.document()})
    worker.runtime.close()
    return 0


class BatchWorker:
    """A loaded version and the job that it works on."""

    def __init__(self, order: dict[str, Any]) -> None:
        files = Path(order["files"])
        self._parts = PartsFolder(Path(order["parts"]))
        self._job = BatchJob.model_validate(order["job"])
        self._contract: ModelContract = read_contract(files / CONTRACT)
        runtimes = Runtimes([Path(path) for path in order["private"]], plans=Path(order["plans"]))
        self.runtime: ModelRuntime = runtimes.make(detect(files), files, self._contract)
        self.runtime.load()

    def answer(self, number: int, say: Any) -> Part:
        """Answer one piece and put its part in place.

        Raises:
            BadInput: a row is at fault, or the file has changed.
            Unreachable: the model fails.
        """
        piece = self._job.pieces[number]
        source = self._job.files[piece.file]
        path = Path(source.path)
        temporary = self._parts.path(number).with_name(f".part-{number:06d}.{os.getpid()}.tmp")
        beyond: dict[str, int] = {}
        done = 0
        writer: pq.ParquetWriter | None = None
        try:
            with pq.ParquetFile(path, memory_map=True) as file:
                wanted = [*dict.fromkeys([*self._contract.names, *self._job.keep])]
                for rows in file.iter_batches(ROWS, row_groups=list(piece.groups), columns=wanted, use_threads=False):
                    batch, outside = batch_of(rows, self._contract, path.name, piece.first + done)
                    for name, count in outside.items():
                        beyond[name] = beyond.get(name, 0) + count
                    answers = self.runtime.answer(batch, _ANSWER_S)
                    table = answered(rows, answers, self._contract, self._job)
                    if writer is None:
                        writer = pq.ParquetWriter(temporary, table.schema)
                    writer.write_table(table)
                    done += rows.num_rows
                    say(rows.num_rows)
            if writer is not None:
                writer.close()
            if done != piece.rows:
                raise BadInput(f"{path.name} has changed while it was read", field="input", remedy="begin anew")
            return self._parts.finish(temporary, number, done, beyond)
        except (pa.ArrowInvalid, OSError) as error:
            first = (str(error).splitlines() or ["?"])[0][:160]
            raise BadInput(
                f"{path.name} cannot be read: {first}", field="input", remedy="write the file again"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)


def answered(rows: pa.RecordBatch, answers: Answers, contract: ModelContract, job: BatchJob) -> pa.Table:
    """The columns that are kept, `prediction`, and a `score_<class>` each where they are asked for.

    Raises:
        BadInput: scores are asked for and the model gives none.
    """
    columns: dict[str, Any] = {name: rows.column(rows.schema.get_field_index(name)) for name in job.keep}
    columns["prediction"] = pa.array(answers.values.tolist() if answers.values.dtype == object else answers.values)
    if job.scores:
        if answers.scores is None:
            raise BadInput("the model gives no scores", field="scores", remedy="leave --scores out")
        classes = contract.output.classes or tuple(str(i) for i in range(answers.scores.shape[1]))
        for place, name in enumerate(classes):
            columns[f"score_{name}"] = pa.array(answers.scores[:, place])
    return pa.table(columns)


def _say(stream: TextIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
