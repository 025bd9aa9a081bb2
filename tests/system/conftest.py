"""One gateway for all system tests of a module; its log is shown when a test fails."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from harness import Gateway  # noqa: E402


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    yield gateway
    gateway.stop()


@pytest.fixture
def processes(tmp_path, gateway, request):
    """Starts sipp processes and ends what is still running."""
    from harness import Sipp

    started = []

    def start(*args, **kwargs):
        started.append(Sipp(tmp_path, *args, **kwargs))
        return started[-1]

    yield start
    for process in started:
        process.stop()
    if getattr(request.node, "failed", False):
        print((gateway.folder / "tandem.log").read_text()[-8000:])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        item.failed = True
