"""GnuTLS as a DTLS client with a pre-shared key: one session, one word each way.

    gnutls_peer.py PORT PRIORITY IDENTITY HEX MTU

It says "hello" and prints what comes back. The library is driven directly because gnutls-cli 3.7.9
crashes after every PSK handshake, also against its own server (it asks for a server's PSK username).
"""

import ctypes
import socket
import sys

CLIENT, DATAGRAM = 2, 4
KEY_RAW = 0
CREDENTIALS_PSK = 4


class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_uint)]


def main():
    port, priority, identity, key, mtu = sys.argv[1:]
    gnutls = ctypes.CDLL("libgnutls.so.30")
    gnutls.gnutls_strerror.restype = ctypes.c_char_p
    gnutls.gnutls_record_send.restype = ctypes.c_ssize_t
    gnutls.gnutls_record_recv.restype = ctypes.c_ssize_t
    session, credentials = ctypes.c_void_p(), ctypes.c_void_p()

    def check(code):
        if code < 0:
            sys.exit("GnuTLS: " + gnutls.gnutls_strerror(code).decode())
        return code

    check(gnutls.gnutls_init(ctypes.byref(session), CLIENT | DATAGRAM))
    check(gnutls.gnutls_priority_set_direct(session, priority.encode(), None))
    check(gnutls.gnutls_psk_allocate_client_credentials(ctypes.byref(credentials)))
    raw = bytes.fromhex(key)
    datum = Datum(raw, len(raw))
    check(
        gnutls.gnutls_psk_set_client_credentials(
            credentials, identity.encode(), ctypes.byref(datum), KEY_RAW
        )
    )
    check(gnutls.gnutls_credentials_set(session, CREDENTIALS_PSK, credentials))
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.connect(("127.0.0.1", int(port)))
    gnutls.gnutls_transport_set_int2(session, plain.fileno(), plain.fileno())
    gnutls.gnutls_dtls_set_mtu(session, ctypes.c_uint(int(mtu)))
    while True:
        code = gnutls.gnutls_handshake(session)
        if code == 0:
            break
        if gnutls.gnutls_error_is_fatal(code):
            check(code)
    print("connected", flush=True)
    check(gnutls.gnutls_record_send(session, b"hello", ctypes.c_size_t(5)))
    heard = ctypes.create_string_buffer(1000)
    length = check(gnutls.gnutls_record_recv(session, heard, ctypes.c_size_t(1000)))
    print(heard.raw[:length].decode(), flush=True)


main()
