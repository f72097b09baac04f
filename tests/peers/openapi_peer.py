"""Crawls the daemon's control API by its OpenAPI document, with Schemathesis over the Unix socket.

usage: openapi_peer.py SOCKET DOCUMENT
Schemathesis speaks TCP: a bridge here passes each connection on to the socket, byte for byte.
"""

import pathlib
import socket
import subprocess
import sys
import threading

# Everything that a document can be held to, and no server error above all.
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
    ]
)


def copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side has gone; the other one is told by the end of its own copy.
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def bridge(listener, path):
    while True:
        near, _ = listener.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect(path)
        for ends in ((near, far), (far, near)):
            threading.Thread(target=copy, args=ends, daemon=True).start()


def main(path, document):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=bridge, args=(listener, path), daemon=True).start()
    port = listener.getsockname()[1]
    command = pathlib.Path(sys.executable).with_name("schemathesis")
    ran = subprocess.run(
        [
            command, "run", document, "--url", f"http://127.0.0.1:{port}", "--checks", CHECKS,
            "--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", "1", "--generation-database", "none",
            "--continue-on-failure", "--request-timeout", "60", "--no-color",
        ],
        check=False,
    )
    sys.exit(ran.returncode)


main(*sys.argv[1:])
