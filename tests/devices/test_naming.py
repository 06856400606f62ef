"""Device strings: what they open, and what is said where they open nothing."""

import re

import pytest

from hurricane import plugins
from hurricane.devices import list_devices, naming, open_device
from hurricane.errors import DeviceError, HurricaneError, MissingExtraError, OperatorError

SIMULATED = "simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=5&jitter=0.02"
ONNXRUNTIME = "onnxruntime:cpu?threads=1&precision=fp32"


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("onnxruntime", ONNXRUNTIME),
        ("onnxruntime:cpu", ONNXRUNTIME),
        (" onnxruntime:cpu?precision=fp32&threads=1 ", ONNXRUNTIME),
        ("onnxruntime:cpu?threads=2", "onnxruntime:cpu?threads=2&precision=fp32"),
        ("onnxruntime?precision=int8", "onnxruntime:cpu?threads=1&precision=int8"),
        ("litert", "litert:cpu?threads=1&precision=fp32"),
        ("litert:cpu?precision=int8&threads=2", "litert:cpu?threads=2&precision=int8"),
        ("simulated", SIMULATED),
        ("simulated:cpu?gflops=20.0", SIMULATED),
        (
            "simulated?jitter=0&gflops=1234567.25&seed=7",
            "simulated:cpu?seed=7&gflops=1234567.25&gbps=10&overhead_us=5&jitter=0",
        ),
        ("simulated?refuses=sep_k3,choicex", f"{SIMULATED}&refuses=sep_k3,choicex"),
    ],
)
def test_a_name_opens_a_device_whose_own_name_is_written_out(given, canonical):
    assert open_device(given).name == canonical
    assert open_device(canonical).name == canonical


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "no device back end ''"),
        ("onnxruntim:cpu", "did you mean 'onnxruntime'"),
        ("tpu", "there are litert, onnxruntime, openvino, simulated"),
        ("onnxruntime:gpu", "no unit 'gpu'; it has cpu"),
        ("simulated:npu", "no unit 'npu'; it has cpu"),
        ("onnxruntime:cpu?thread=1", "did you mean 'threads'?; it has threads, precision"),
        ("onnxruntime:cpu?threads", "write key=value"),
        ("onnxruntime:cpu?threads=", "write key=value"),
        ("onnxruntime:cpu?threads=1&&precision=fp32", "write key=value"),
        ("onnxruntime:cpu?threads=1&threads=2", "threads twice"),
        ("onnxruntime:cpu?threads=0", "whole number from 1"),
        ("onnxruntime:cpu?threads=-3", "whole number from 1"),
        ("onnxruntime:cpu?threads=1.5", "whole number from 1"),
        ("onnxruntime:cpu?threads=²", "whole number from 1"),
        ("onnxruntime:cpu?threads=99999999", "to 1024"),
        ("onnxruntime:cpu?precision=fp7", "it has fp32 and int8"),
        ("openvino:tpu", "no unit 'tpu'; it has cpu, gpu, npu"),
        ("openvino:npu?clock=1", "openvino:npu has no option 'clock'; it has threads, precision"),
        ("openvino:gpu?precision=bf16", "it has fp32 and int8"),
        ("openvino:cpu?threads=0", "whole number from 1"),
        ("litert:npu", "no unit 'npu'; it has cpu"),
        ("litert:cpu?precision=int4", "it has fp32 and int8"),
        ("litert:cpu?threads=0", "whole number from 1"),
        ("simulated?gflops=0", "number of at least"),
        ("simulated?gbps=fast", "number of at least"),
        ("simulated?jitter=nan", "number of at least 0"),
        ("simulated?overhead_us=inf", "number of at least 0"),
        ("simulated?seed=-1", "whole number from 0"),
    ],
)
def test_what_opens_nothing_says_what_there_is(given, said):
    with pytest.raises(DeviceError, match=re.escape(said)) as caught:
        open_device(given)
    assert "\n" not in str(caught.value)


def test_a_kind_to_refuse_must_exist():
    with pytest.raises(OperatorError, match="did you mean 'sep_k3'"):
        open_device("simulated?refuses=sep_k33")


def test_back_ends_of_others_are_opened_and_listed(monkeypatch):
    asked = []

    def factory(unit, options):
        asked.append((unit, dict(options)))
        return open_device("simulated")

    def lacking(unit, options):
        raise MissingExtraError("acme is not installed; pip install 'acme[devices]'")

    monkeypatch.setattr(plugins, "load", lambda group: {"board": factory, "acme": lacking})
    assert open_device("board:npu?clock=9").name == SIMULATED
    assert asked == [("npu", {"clock": "9"})]
    listed = {status.name: status for status in list_devices()}
    assert listed[ONNXRUNTIME].available
    assert listed[SIMULATED].available
    assert not listed["acme"].available
    assert "acme[devices]" in listed["acme"].reason
    with pytest.raises(DeviceError, match="there are acme, board, litert, onnxruntime, openvino, simulated"):
        open_device("nowhere")


def test_a_plug_in_that_does_not_load_is_listed_and_stops_nothing_else(monkeypatch):
    def broken(group):
        raise HurricaneError("the plug-in 'acme:open' does not load (no module named acme)")

    monkeypatch.setattr(plugins, "load", broken)
    assert open_device("onnxruntime").name == ONNXRUNTIME
    statuses = list_devices()
    assert {status.name: status.available for status in statuses}[SIMULATED]
    assert not statuses[-1].available
    assert "acme" in statuses[-1].reason


def test_units_and_precisions_are_listed_each_for_itself():
    listed = {status.name: status.available for status in list_devices()}
    assert listed[ONNXRUNTIME]
    assert listed["onnxruntime:cpu?threads=1&precision=int8"]


def test_an_extra_that_is_missing_is_listed_once_with_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    (status,) = [status for status in list_devices() if status.name.startswith("openvino")]
    assert (status.name, status.available) == ("openvino", False)
    assert "pip install 'hurricane-nas[openvino]'" in status.reason
    with pytest.raises(MissingExtraError, match=r"hurricane-nas\[openvino\]"):
        open_device("openvino:npu")


def test_a_runtime_that_cannot_be_imported_is_missing_and_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    status = list_devices()[0]
    assert (status.name, status.available) == ("onnxruntime", False)
    assert "pip install onnxruntime" in status.reason
    assert "onnxruntime" in naming.BUILT_IN
