"""Registrations both ways by SIPp, with trunks that a running gateway is given by SIGHUP."""
import signal
import time

import pytest
from harness import CARRIER, GATEWAY, Events

PHONE, REGISTRAR = "127.0.0.7", "127.0.0.8"
PHONES = f"""schema = 1
[trunk]
name = "phones"
[registrar]
domain = "{GATEWAY}"
algorithms = ["MD5"]
[[account]]
user = "101"
password = "secret456"
number = "+442079460101"
[media]
codecs = ["PCMA", "PCMU", "telephone-event"]
"""
ACCOUNT = f"""schema = 1
[trunk]
name = "account"
[[gateway]]
uri = "sip:{REGISTRAR}:5070"
[auth]
username = "user123"
password = "secret456"
[register]
registrar = "sip:{REGISTRAR}:5070"
"""
TO_PHONES = '[[route]]\ntrunk = "carrier"\ndid = "+442079460101"\nto = "trunk:phones"\n'


def reload(gateway, result):
    """SIGHUP, and its end."""
    counted = rf'tandem_config_reloads_total{{result="({result})"}}'
    before = gateway.metric(counted)
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: gateway.metric(counted) == before + 1)


def wait_until(holds, seconds=15):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def trunk(gateway, name):
    status, body = gateway.request("GET", f"/v1/trunks/{name}")
    return body if status == 200 else None


def signed(password):
    """What sipp makes the credentials of."""
    return f"[authentication username=101 password={password}]"


@pytest.fixture
def files(gateway):
    """Writes files beside those of the gateway; they are gone with the test."""
    routes = gateway.folder / "routes.toml"
    before, written = routes.read_text(), []

    def write(name, text, route=""):
        path = gateway.folder / "trunks" / name
        path.write_text(text)
        written.append(path)
        routes.write_text(route + before)

    yield write
    routes.write_text(before)
    for path in written:
        path.unlink(missing_ok=True)
    reload(gateway, "changed|unchanged")


def test_a_phone_registers_and_is_called(gateway, processes, files):
    files("phones.toml", PHONES, TO_PHONES)
    reload(gateway, "changed")
    events = Events(gateway)
    processes("uac_registers", PHONE, called="101", caller=signed("secret456")).done()
    assert trunk(gateway, "phones")["bindings"] == 1
    phone = processes("uas_answered", PHONE, port=5071, media_port=6200)
    carrier = processes("uac_answered", CARRIER, called="+442079460101")
    call = events.wait("call.answered")["call"]
    carrier.done()
    phone.done()
    events.wait("call.ended", call=call)
    cdr = gateway.cdr(call)
    assert cdr["direction"] == "transit" and [leg["trunk"] for leg in cdr["legs"]] == ["carrier", "phones"]


def test_a_wrong_password_binds_nothing(gateway, processes, files):
    files("phones.toml", PHONES, TO_PHONES)
    reload(gateway, "changed")
    phone = processes("uac_registers", PHONE, called="101", caller=signed("wrong"))
    with pytest.raises(AssertionError, match="while expecting '200' .index 3., received 'SIP/2.0 401"):
        phone.done()
    assert trunk(gateway, "phones")["bindings"] == 0
    processes("uac_expect_480", CARRIER, called="+442079460101").done()


def test_registered_refreshed_and_taken_back(gateway, processes, files):
    events = Events(gateway)
    registrar = processes("uas_registrar", REGISTRAR)
    files("account.toml", ACCOUNT)
    reload(gateway, "changed")
    events.wait("trunk.up", trunk="account")
    first = trunk(gateway, "account")["registration"]
    assert first["registered"] and first["state"] == "registered"
    # Granted for 12 s, refreshed after 6 to 11.
    wait_until(lambda: "CSeq: 3 REGISTER" in (registrar.folder / "messages.log").read_text())
    time.sleep(0.5)  # its answer has arrived
    (gateway.folder / "trunks/account.toml").unlink()
    reload(gateway, "changed")
    registrar.done()
    assert trunk(gateway, "account") is None
