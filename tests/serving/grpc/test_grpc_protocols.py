"""The gRPC port through a real channel: the protocol's calls, errors by their codes, the graph's rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from maestro.core.principals import PrincipalRole
from maestro.serving.protocols.grpc.messages import PACKAGE, PROTO, SERVICE, calls, messages, parse
from tests.serving.conftest import ENTITY, Client, Serve, Trained, Workshop, node, split


class Caller:
    """Calls by name, with messages of our own file."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.kinds = messages()

    def __call__(self, name: str, request: Any = None, **metadata: str) -> Any:
        asked, answered = calls(PROTO.read_text())[name]
        call: grpc.UnaryUnaryMultiCallable[Any, Any] = self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.kinds[answered].FromString,
        )
        found, self.call = call.with_call(
            request if request is not None else self.kinds[asked](),
            metadata=tuple((key.replace("_", "-"), value) for key, value in metadata.items()),
            timeout=10,
        )
        return found

    def code(self, name: str, request: Any = None, **metadata: str) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self(name, request, **metadata)
        return caught.value.code(), str(caught.value.details())


@pytest.fixture
def client(workshop: Workshop, trained: Trained, serve: Serve) -> Client:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="authorisation")
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000)}, "ab")
    return serve(grpc="127.0.0.1:0")


@pytest.fixture
def caller(client: Client) -> Iterator[Caller]:
    assert client.server.grpc_port is not None
    found = Caller(client.server.grpc_port)
    yield found
    found.channel.close()


def infer(caller: Caller, rows: np.ndarray, *, raw: bool, datatype: str = "FP64", **fields: Any) -> Any:
    request = caller.kinds["ModelInferRequest"](model_name="m", id="7", **fields)
    tensor = request.inputs.add(name="input-0", datatype=datatype, shape=rows.shape)
    if raw:
        request.raw_input_contents.append(rows.astype({"FP64": "<f8", "FP32": "<f4"}[datatype]).tobytes())
    else:
        getattr(tensor.contents, f"{datatype.lower()}_contents").extend(rows.ravel().tolist())
    return request


@pytest.mark.door
def test_answers_are_the_models_from_typed_and_from_raw_contents(
    client: Client, caller: Caller, trained: Trained
) -> None:
    rows = trained.rows[:20]
    for raw in (False, True):
        answer = caller("ModelInfer", infer(caller, rows, raw=raw), x_maestro_unit="u7")
        assert (answer.model_name, answer.id) == ("m", "7")
        predicted, scores = answer.outputs
        assert (predicted.name, predicted.datatype, list(predicted.shape)) == ("predict", "INT64", [20])
        assert (scores.name, scores.datatype, list(scores.shape)) == ("probabilities", "FP64", [20, 2])
        if raw:
            values = np.frombuffer(answer.raw_output_contents[0], dtype="<i8").tolist()
        else:
            values = list(predicted.contents.int64_contents)
        assert values == trained.answers[:20]
        trailing = dict(caller.call.trailing_metadata())
        assert trailing["x-maestro-version"] == answer.model_version
    first = trailing["x-maestro-arm"]
    rest = client.post("/predict", json={"instances": rows[:1].tolist()}, headers={"x-maestro-unit": "u7"})
    assert rest.headers["x-maestro-arm"] == first, "the same unit, whichever the door"


@pytest.mark.door
def test_tensors_by_name_a_version_and_one_output(caller: Caller, trained: Trained) -> None:
    request = caller.kinds["ModelInferRequest"](model_name="m", model_version="1.0.0")
    for position, name in enumerate(trained.contract.names):
        tensor = request.inputs.add(name=name, datatype="FP64", shape=[3, 1])
        tensor.contents.fp64_contents.extend(trained.rows[:3, position].tolist())
    request.outputs.add(name="predict")
    request.parameters[ENTITY].string_param = "9"
    answer = caller("ModelInfer", request)
    assert [output.name for output in answer.outputs] == ["predict"]
    assert list(answer.outputs[0].contents.int64_contents) == trained.answers[:3]


@pytest.mark.door
def test_health_and_metadata(caller: Caller, trained: Trained) -> None:
    assert caller("ServerLive").live
    assert caller("ServerReady").ready
    assert caller("ServerMetadata").name == "maestro"
    named = caller.kinds["ModelMetadataRequest"](name="m")
    found = caller("ModelMetadata", named)
    assert (list(found.versions), found.platform) == (["1.0.0", "1.1.0"], "maestro_onnx")
    assert [(each.name, each.datatype, list(each.shape)) for each in found.inputs] == [
        (name, "FP64", [-1, 1]) for name in trained.contract.names
    ]
    ready = caller.kinds["ModelReadyRequest"]
    assert caller("ModelReady", ready(name="m", version="1.1.0")).ready
    assert not caller("ModelReady", ready(name="m", version="9.9.9")).ready
    assert not caller("ModelReady", ready(name="n")).ready


@pytest.mark.door
def test_mistakes_are_the_callers_and_say_what_to_do(caller: Caller, trained: Trained) -> None:
    rows = trained.rows[:2]
    short = infer(caller, rows, raw=True)
    short.raw_input_contents[0] = short.raw_input_contents[0][:-1]
    both = infer(caller, rows, raw=True)
    both.inputs[0].contents.fp64_contents.extend([1.0])
    twice = infer(caller, rows, raw=True)
    twice.raw_input_contents.append(b"")
    half = caller.kinds["ModelInferRequest"](model_name="m")
    half.inputs.add(name="x", datatype="FP16", shape=[1, 4])
    wide = infer(caller, np.ones((1, 9)), raw=False)
    other = infer(caller, rows, raw=False)
    other.model_name = "n"
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    for request, code, said in [
        (short, invalid, "bytes"),
        (both, invalid, "beside raw_input_contents"),
        (twice, invalid, "2 raw_input_contents for 1 inputs"),
        (half, invalid, "no typed contents"),
        (wide, invalid, "the model takes 4"),
        (other, missing, "no model 'n'"),
    ]:
        got = caller.code("ModelInfer", request)
        assert got[0] is code, got
        assert said in got[1]


@pytest.mark.door
def test_the_repository_follows_the_graph_and_asks_for_a_role(workshop: Workshop, caller: Caller) -> None:
    load, unload = caller.kinds["RepositoryModelLoadRequest"], caller.kinds["RepositoryModelUnloadRequest"]
    assert caller.code("RepositoryIndex")[0] is grpc.StatusCode.UNAUTHENTICATED
    bearer = {"authorization": f"Bearer {workshop.key(PrincipalRole.VIEWER)}"}
    found = caller("RepositoryIndex", **bearer)
    assert [(each.name, each.version, each.state) for each in found.models] == [
        ("m", "1.0.0", "READY"),
        ("m", "1.1.0", "READY"),
    ]
    caller("RepositoryModelLoad", load(model_name="m"), **bearer)
    refused = grpc.StatusCode.PERMISSION_DENIED
    for name, request, said in [
        ("RepositoryModelLoad", load(model_name="n"), "no graph pins model 'n'"),
        ("RepositoryModelUnload", unload(model_name="m"), "pins its versions"),
    ]:
        code, detail = caller.code(name, request, **bearer)
        assert (code, said in detail) == (refused, True), detail
    config = load(model_name="m")
    config.parameters["config"].string_param = "{}"
    assert caller.code("RepositoryModelLoad", config, **bearer)[0] is refused


@pytest.mark.door
def test_the_port_follows_the_data_ports_authentication(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    port = serve(grpc="127.0.0.1:0", auth="key").server.grpc_port
    assert port is not None
    caller = Caller(port)
    request = infer(caller, trained.rows[:1], raw=False)
    assert caller("ServerLive").live
    assert caller.code("ModelInfer", request)[0] is grpc.StatusCode.UNAUTHENTICATED
    key = workshop.key(PrincipalRole.VIEWER)
    assert caller("ModelInfer", request, authorization=f"Bearer {key}").model_version == "1.0.0"
    caller.channel.close()


def test_the_file_is_understood_as_a_whole_or_refused() -> None:
    file = parse(PROTO.read_text())
    assert file.package == PACKAGE
    assert len(file.message_type) == 21
    for text in ("enum A {}", "message A { fixed64 a = 1; }", "message A { string a 1; }"):
        with pytest.raises(ValueError, match=r"understood|expected"):
            parse(text)
