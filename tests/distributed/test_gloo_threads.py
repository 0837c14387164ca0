"""An error in a thread of gloo does not end the process. One of another library does, as without ppema."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pytest
from support.launched import ROOT

LIBRARY = """
#include <chrono>
#include <stdexcept>
#include <thread>
namespace gloo { struct EnforceNotMet : std::runtime_error { using std::runtime_error::runtime_error; }; }
template <typename Error> void fail() {
  std::thread([] { throw Error("ex_ == nullptr"); }).detach();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
}
extern "C" void fail_in_gloo() { fail<gloo::EnforceNotMet>(); }
extern "C" void fail_elsewhere() { fail<std::runtime_error>(); }
"""
SCRIPT = """
import ctypes, sys
from ppema.distributed.gloo_threads import broken, outlive_gloo
from ppema.distributed.process_end import ProcessEnd
outlive_gloo()
end = ProcessEnd(print, lambda: None, 0.0)
if sys.argv[3:]:
    end.failed()
ctypes.CDLL(sys.argv[1])[sys.argv[2]]()
print("lives", broken())
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    made = tmp_path_factory.mktemp("gloo") / "failing.so"
    command = [compiler, "-shared", "-fPIC", "-pthread", "-x", "c++", "-", "-o", str(made)]
    subprocess.run(command, input=LIBRARY, text=True, check=True, timeout=120)
    return made


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_an_error_in_a_thread_of_gloo_does_not_end_the_process(library):
    done = run(str(library), "fail_in_gloo")
    assert (done.returncode, done.stdout, done.stderr) == (0, "lives True\n", "")


def test_a_rank_that_failed_ends_without_waiting_for_a_thread_of_gloo(library):
    # The same process would wait for ever in the end of Paddle's communicator, which is not loaded here.
    done = run(str(library), "fail_in_gloo", "failed")
    assert (done.returncode, done.stdout, done.stderr) == (1, "lives True\n", "")


def test_an_error_in_another_thread_ends_the_process(library):
    done = run(str(library), "fail_elsewhere")
    assert done.returncode == -signal.SIGABRT
    assert "terminate called after throwing an instance of 'std::runtime_error'" in done.stderr
