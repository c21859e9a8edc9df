"""What might answer as the original does, in the order in which it is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput
from maestro.serving.prepare.asking import CannotAnswer, OriginalProcess
from maestro.serving.prepare.convert import VARIANTS
from maestro.serving.program import NoCompiler, compile_program
from maestro.serving.runtimes._base import ModelRuntime
from maestro.serving.runtimes.forest import FILE as FOREST
from maestro.serving.runtimes.forest import Forest, decode
from maestro.serving.runtimes.onnx import FILE as ONNX
from maestro.serving.runtimes.onnx import Labels, OnnxRuntime
from maestro.serving.runtimes.plan import PathName, RefusedPath
from maestro.serving.runtimes.trees import PROGRAM, SOURCE, TreesRuntime


@dataclass(frozen=True)
class Candidate:
    """A path that is not proven yet.

    Args:
        place: writes its files into the staging folder.
        make: its runtime over the staging folder, with a rule for classes.
        label_rules: the rules to try.
        forest: the trees, where they are known.
    """

    name: PathName
    origin: str
    files: tuple[str, ...]
    place: Callable[[], None]
    make: Callable[[Labels], ModelRuntime]
    label_rules: tuple[Labels, ...]
    forest: Forest | None = None


def candidates(
    original: OriginalProcess,
    files: Path,
    contract: ModelContract,
    classes: tuple[str, ...] | None,
    staging: Path,
    refused: list[RefusedPath],
) -> list[Candidate]:
    """All that can be had; what cannot is put into `refused`."""
    found: list[Candidate] = []
    if contract.output.classes is not None and classes is not None and contract.output.classes != classes:
        reason = f"the contract's classes {list(contract.output.classes)} are not the model's {list(classes)}"
        refused.append(RefusedPath(name="trees, onnx", reason=reason))
        return found
    trees = _trees(original, contract, staging, refused)
    if trees is not None:
        found.append(trees)
    if (files / ONNX).is_file():
        content = (files / ONNX).read_bytes()
        found.append(_onnx(staging, contract, "package", lambda: content))
    return found + [_onnx(staging, contract, variant, _converted(original, contract, variant)) for variant in VARIANTS]


def _trees(
    original: OriginalProcess, contract: ModelContract, staging: Path, refused: list[RefusedPath]
) -> Candidate | None:
    try:
        content = original.forest([feature.type for feature in contract.features])
        forest = decode(content, len(contract.features))
    except CannotAnswer as error:
        refused.append(RefusedPath(name="trees", reason=str(error)))
        return None
    except BadInput as error:
        refused.append(RefusedPath(name="trees", reason=error.detail))
        return None

    def place() -> None:
        (staging / FOREST).write_bytes(content)
        try:
            compile_program(SOURCE, staging / PROGRAM)
        except NoCompiler as error:
            raise BadInput(
                str(error), field=PROGRAM, remedy="install a C compiler where versions are prepared"
            ) from None

    def make(labels: Labels) -> ModelRuntime:
        return TreesRuntime(staging, contract)

    return Candidate("trees", "compiled", (FOREST, PROGRAM), place, make, ("graph",), forest)


def _onnx(staging: Path, contract: ModelContract, origin: str, content: Callable[[], bytes]) -> Candidate:
    def place() -> None:
        (staging / ONNX).write_bytes(content())

    def make(labels: Labels) -> ModelRuntime:
        return OnnxRuntime(staging, contract, labels=labels)

    rules: Sequence[Labels] = ("graph", "scores") if contract.output.kind == "classification" else ("graph",)
    return Candidate("onnx", origin, (ONNX,), place, make, tuple(rules))


def _converted(original: OriginalProcess, contract: ModelContract, variant: str) -> Callable[[], bytes]:
    types = [feature.type for feature in contract.features]

    def convert() -> bytes:
        try:
            return original.onnx(contract.names, types, variant)
        except CannotAnswer as error:
            raise BadInput(str(error), field=ONNX, remedy="use another path") from None

    return convert
