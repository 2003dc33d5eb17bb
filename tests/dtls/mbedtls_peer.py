"""Mbed TLS as a DTLS peer: one session, one word each way.

    mbedtls_peer.py client PORT SUITE [psk IDENTITY HEX | cert CHAIN KEY ROOT]
    mbedtls_peer.py server PORT SUITE [psk IDENTITY HEX | cert CHAIN KEY ROOT]

The client says "hello" and prints what comes back. The server prints what it hears and says it
again. Needs the package python-mbedtls.
"""

import socket
import sys
from contextlib import suppress

from mbedtls import pk, tls, x509


def credentials(kind, rest):
    if kind == "psk":
        identity, key = rest[0], bytes.fromhex(rest[1])
        return {
            "pre_shared_key": (identity, key),
            "pre_shared_key_store": {identity: key},
            "validate_certificates": False,
        }
    chain_file, key_file, root_file = rest
    pems = open(chain_file).read().split("-----END CERTIFICATE-----\n")
    chain = [x509.CRT.from_PEM(pem + "-----END CERTIFICATE-----\n") for pem in pems if pem.strip()]
    key = pk.ECC.from_buffer(pem_to_der(open(key_file).read()))
    store = tls.TrustStore()
    store.add(x509.CRT.from_file(root_file))
    return {
        "certificate_chain": (tuple(chain), key),
        "trust_store": store,
        "validate_certificates": True,
    }


def pem_to_der(pem):
    import base64

    return base64.b64decode("".join(line for line in pem.splitlines() if "-----" not in line))


def handshake(wrapped):
    while True:
        with suppress(tls.WantReadError, tls.WantWriteError):
            wrapped.do_handshake()
            return


def client(port, configuration):
    context = tls.ClientContext(configuration)
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wrapped = context.wrap_socket(plain, server_hostname=None)
    wrapped.connect(("127.0.0.1", port))
    wrapped.settimeout(20)
    handshake(wrapped)
    print("connected", wrapped.cipher(), flush=True)
    wrapped.send(b"hello")
    print(wrapped.recv(1000).decode(), flush=True)


def server(port, configuration):
    context = tls.ServerContext(configuration)
    wrapped = context.wrap_socket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    wrapped.bind(("127.0.0.1", port))
    connection, address = wrapped.accept()
    connection.setcookieparam(address[0].encode())
    # The first hello is answered with a cookie and ends that connection.
    with suppress(tls.HelloVerifyRequest):
        handshake(connection)
    connection, address = connection.accept()
    connection.setcookieparam(address[0].encode())
    handshake(connection)
    print("connected", connection.cipher(), flush=True)
    heard = connection.recv(1000)
    print(heard.decode(), flush=True)
    connection.send(b"echo: " + heard)
    connection.recv(1000)


def main():
    role, port, suite, kind, *rest = sys.argv[1:]
    configuration = tls.DTLSConfiguration(
        ciphers=(suite,),
        lowest_supported_version=tls.DTLSVersion.DTLSv1_2,
        **credentials(kind, rest),
    )
    {"client": client, "server": server}[role](int(port), configuration)


main()
