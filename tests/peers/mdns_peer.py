"""Resolves a gateway's name with python-zeroconf, in a network of two machines that exists for this test only.

Runs as root of a network namespace of its own: mdns_peer.py DAEMON CONFIG NAME OTHER_CONFIG. A second namespace is the other machine, with a
gateway of the same name. What is wrong is an exception.
"""

import json
import ssl
import subprocess
import sys
import time

from zeroconf import AddressResolverIPv4, InterfaceChoice, Zeroconf

DAEMON, CONFIG, NAME, OTHER = sys.argv[1:]
HERE, THERE = "10.77.0.1", "10.77.0.2"


def run(*command):
    subprocess.run(command, check=True)


def resolve(name, patience):
    """The addresses that `name` has, as soon as it has one."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        peer = Zeroconf(interfaces=[HERE])
        try:
            resolver = AddressResolverIPv4(name + ".")
            if resolver.request(peer, 3000):
                return sorted(resolver.parsed_addresses())
        finally:
            peer.close()
    return []


def service(patience):
    """The page as a service: where it is said to be."""
    from zeroconf import ServiceBrowser, ServiceListener

    found = {}

    class Listener(ServiceListener):
        def add_service(self, peer, kind, name):
            info = peer.get_service_info(kind, name)
            if info:
                found[name] = (info.server, info.port)

        def update_service(self, peer, kind, name):
            self.add_service(peer, kind, name)

        def remove_service(self, peer, kind, name):
            found.pop(name, None)

    peer = Zeroconf(interfaces=[HERE])
    ServiceBrowser(peer, "_https._tcp.local.", Listener())
    end = time.monotonic() + patience
    while time.monotonic() < end and not found:
        time.sleep(0.2)
    peer.close()
    return found


run("ip", "link", "set", "lo", "up")
# The other machine: a namespace that waits until it has its end of the cable.
other = subprocess.Popen(
    ["unshare", "--net", "sh", "-c", f"read cable; ip link set lo up; ip addr add {THERE}/24 dev v1; ip link set v1 up; "
     "ip route add 224.0.0.0/4 dev v1; read go; exec \"$0\" run --config \"$1\"", DAEMON, OTHER],
    stdin=subprocess.PIPE,
)
first = None
try:
    time.sleep(1)  # until it is in its namespace: moving the cable earlier would leave it here
    run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", str(other.pid))
    run("ip", "addr", "add", f"{HERE}/24", "dev", "v0")
    run("ip", "link", "set", "v0", "up")
    run("ip", "route", "add", "224.0.0.0/4", "dev", "v0")
    other.stdin.write(b"cable\n")
    other.stdin.flush()
    first = subprocess.Popen([DAEMON, "run", "--config", CONFIG])
    found = resolve(NAME, 30)
    assert found == [HERE], f"the name leads to {found}"
    ((name, (server, port)),) = service(30).items()
    assert server == NAME + "." and port == 8443, (name, server, port)
    # Who follows it finds a page that answers to that name.
    import http.client
    context = ssl._create_unverified_context()
    page = http.client.HTTPSConnection(HERE, 8443, context=context, timeout=20)
    page.request("GET", "/", headers={"Host": f"{NAME}:8443"})
    assert page.getresponse().status == 303
    page = http.client.HTTPSConnection(HERE, 8443, context=context, timeout=20)
    page.request("GET", "/", headers={"Host": "cardea-other.local:8443"})
    assert page.getresponse().status == 421

    # Another machine comes with the same name: the first keeps it.
    other.stdin.write(b"go\n")
    other.stdin.flush()
    second = NAME.replace(".local", "-2.local")
    assert resolve(second, 60) == [THERE], "the one that came later has another name"
    assert resolve(NAME, 30) == [HERE], "and the first has kept its own"

    # One that stops says goodbye.
    first.terminate()
    first.wait(30)
    first = None
    assert resolve(NAME, 5) == [], "nobody has the name any more"
    print(json.dumps({"names": [NAME, second]}))
finally:
    for process in (first, other):
        if process:
            process.kill()
            process.wait()
