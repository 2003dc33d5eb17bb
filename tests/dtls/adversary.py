"""A DTLS 1.2 peer of our own, written from the RFCs apart from the Rust code, that can also lie.

    adversary.py client PORT SUITE [LIE]
    adversary.py server PORT SUITE [LIE]

SUITE is c037 (ECDHE_PSK, RFC 5489) or ff00 (OCF's anonymous ECDH), both with AES-128-CBC and
HMAC-SHA-256; the client also knows c0a8 (plain PSK, AES-128-CCM-8, RFC 6655). The honest client
says "hello" and prints the answer; the honest server answers "echo: " and what it heard. It prints
"connected" after the handshake, "alert N" when the peer sends one, "silence" when nothing
comes, "gone" when nobody listens any more. Needs the package cryptography.

Lies of the client. Those that must be refused:
    bad-finished no-finished plain-finished skip-key-exchange repeat-key-exchange
    early-change-cipher zero-keys unasked-certificate bad-point no-change-cipher downgrade
Those that must be shrugged off (it ends with "hello" answered once):
    fragments replay flip truncate padding plain-alerts repeat-flight
Lies of the server, all to be refused: bad-finished bad-point other-suite
"""

import hashlib
import hmac
import os
import random
import socket
import struct
import sys
import time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

IDENTITY = b"client-1"
PSK = bytes.fromhex("00112233445566778899aabbccddeeff")
CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
HELLO, SERVER_HELLO, VERIFY_REQUEST, CERTIFICATE = 1, 2, 3, 11
SERVER_KEY_EXCHANGE, DONE, CLIENT_KEY_EXCHANGE, FINISHED = 12, 14, 16, 20
VERSION = b"\xfe\xfd"


class Alert(Exception):
    pass


class Silence(Exception):
    pass


def prf(secret, label, seed, length):
    seed, out = label + seed, b""
    a = seed
    while len(out) < length:
        a = hmac.digest(secret, a, "sha256")
        out += hmac.digest(secret, a + seed, "sha256")
    return out[:length]


def vec8(body):
    return bytes([len(body)]) + body


def vec16(body):
    return struct.pack(">H", len(body)) + body


class Reader:
    def __init__(self, body):
        self.body = body

    def take(self, count):
        assert count <= len(self.body), "short message"
        taken, self.body = self.body[:count], self.body[count:]
        return taken

    def number(self, count):
        return int.from_bytes(self.take(count), "big")


class Keys:
    """One direction: MAC then encrypt, explicit initialisation vector."""

    def __init__(self, mac, key):
        self.mac, self.key = mac, key

    def mac_of(self, number, kind, plain):
        header = struct.pack(">QB2sH", number, kind, VERSION, len(plain))
        return hmac.digest(self.mac, header + plain, "sha256")

    def encrypt(self, padded):
        iv = os.urandom(16)
        encryptor = Cipher(algorithms.AES(self.key), modes.CBC(iv)).encryptor()
        return iv + encryptor.update(padded) + encryptor.finalize()

    def seal(self, number, kind, plain):
        inner = plain + self.mac_of(number, kind, plain)
        padding = 15 - len(inner) % 16
        return self.encrypt(inner + bytes([padding]) * (padding + 1))

    def open(self, number, kind, body):
        decryptor = Cipher(algorithms.AES(self.key), modes.CBC(body[:16])).decryptor()
        inner = decryptor.update(body[16:]) + decryptor.finalize()
        padding = inner[-1]
        assert inner[-padding - 1 :] == bytes([padding]) * (padding + 1), "padding"
        plain, mac = inner[: -padding - 33], inner[-padding - 33 : -padding - 1]
        assert hmac.compare_digest(mac, self.mac_of(number, kind, plain)), "MAC"
        return plain


class CcmKeys:
    """One direction: AES-128-CCM with a tag of 8 bytes; half of the nonce is sent."""

    def __init__(self, salt, key):
        self.salt, self.cipher = salt, AESCCM(key, tag_length=8)

    def seal(self, number, kind, plain):
        explicit = struct.pack(">Q", number)
        header = struct.pack(">QB2sH", number, kind, VERSION, len(plain))
        return explicit + self.cipher.encrypt(self.salt + explicit, plain, header)

    def open(self, number, kind, body):
        header = struct.pack(">QB2sH", number, kind, VERSION, len(body) - 16)
        return self.cipher.decrypt(self.salt + body[:8], body[8:], header)


class Peer:
    def __init__(self, suite, lie):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.suite, self.lie = suite, lie
        self.transcript = b""
        self.message_out = self.message_in = 0
        self.record_out = [0, 0]
        self.ours = self.theirs = self.master = None
        self.randoms = [None, None]
        self.parts, self.records = {}, []
        self.private = ec.generate_private_key(ec.SECP256R1())

    # records and messages

    def point(self):
        if self.lie == "bad-point":
            return b"\x04" + b"\x11" * 64
        key = self.private.public_key()
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def record(self, epoch, kind, body, keys=None):
        number = epoch << 48 | self.record_out[epoch]
        self.record_out[epoch] += 1
        if epoch:
            body = (keys or self.ours).seal(number, kind, body)
        return struct.pack(">B2sQ", kind, VERSION, number) + vec16(body)

    def send(self, *records):
        self.socket.send(b"".join(records))

    def message(self, kind, body, epoch=0, keys=None):
        """The records of one message; also adds it to the transcript."""
        length = len(body).to_bytes(3, "big")
        sequence = struct.pack(">H", self.message_out)
        self.message_out += 1
        whole = bytes([kind]) + length + sequence + bytes(3) + length + body
        self.transcript += whole
        if self.lie != "fragments" or epoch:
            return [self.record(epoch, HANDSHAKE, whole, keys)]
        pieces, start = [], 0
        while start < len(body):
            # Some of them overlap, some say nothing at all.
            size = random.randint(0, 20)
            piece = body[start : start + size]
            header = bytes([kind]) + length + sequence
            header += start.to_bytes(3, "big") + len(piece).to_bytes(3, "big")
            pieces.append(self.record(epoch, HANDSHAKE, header + piece))
            start += max(0, size - random.randint(0, 3))
        random.shuffle(pieces)
        return pieces

    def receive(self, seconds=5):
        """The next record: epoch, kind, plain body."""
        end = time.monotonic() + seconds
        while not self.records:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                reader = Reader(self.socket.recv(65536))
            except (TimeoutError, ConnectionRefusedError):
                raise Silence from None
            while reader.body:
                kind, _, number = struct.unpack(">BHQ", reader.take(11))
                self.records.append((number, kind, reader.take(reader.number(2))))
        number, kind, body = self.records.pop(0)
        if number >> 48:
            if self.theirs is None:
                return self.receive(seconds)
            body = self.theirs.open(number, kind, body)
        if kind == ALERT and body != b"\x01\x00":
            raise Alert(body[1])
        return number >> 48, kind, body

    def next_kind(self):
        """The kind of the next handshake message, when its last piece is there."""
        while self.message_in not in self.parts or None in self.parts[self.message_in][1]:
            _, kind, body = self.receive()
            reader = Reader(body if kind == HANDSHAKE else b"")
            while reader.body:
                kind, length = reader.number(1), reader.number(3)
                sequence, offset, size = reader.number(2), reader.number(3), reader.number(3)
                _, have = self.parts.setdefault(sequence, (kind, [None] * length))
                have[offset : offset + size] = reader.take(size)
        return self.parts[self.message_in][0]

    def hear(self, wanted):
        """The body of the next handshake message, which has to be of this kind."""
        kind = self.next_kind()
        body = bytes(self.parts[self.message_in][1])
        assert kind == wanted, f"message {kind} instead of {wanted}"
        length = len(body).to_bytes(3, "big")
        self.heard = bytes([kind]) + length + struct.pack(">H", self.message_in)
        self.heard += bytes(3) + length + body
        self.transcript += self.heard
        self.message_in += 1
        return body

    # keys

    def premaster(self, peer_point):
        if self.suite == 0xC0A8:
            return vec16(bytes(len(PSK))) + vec16(PSK)
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), peer_point)
        shared = self.private.exchange(ec.ECDH(), peer)
        return vec16(shared) + vec16(PSK) if self.suite == 0xC037 else shared

    def derive(self, premaster, is_client, master=None):
        digest = hashlib.sha256(self.transcript).digest()
        self.master = master or prf(premaster, b"extended master secret", digest, 48)
        block = prf(self.master, b"key expansion", self.randoms[1] + self.randoms[0], 96)
        if self.suite == 0xC0A8:
            sides = [CcmKeys(block[32:36], block[:16]), CcmKeys(block[36:40], block[16:32])]
        else:
            sides = [Keys(block[:32], block[64:80]), Keys(block[32:64], block[80:96])]
        self.ours, self.theirs = sides if is_client else sides[::-1]

    def verify_data(self, label):
        if self.lie == "bad-finished":
            return b"\xaa" * 12
        return prf(self.master, label, hashlib.sha256(self.transcript).digest(), 12)

    def check_finished(self, label):
        expected = prf(self.master, label, hashlib.sha256(self.transcript).digest(), 12)
        assert self.hear(FINISHED) == expected, "their Finished"

    def extensions(self):
        groups = b"\x00\x0a" + vec16(vec16(b"\x00\x17"))
        formats = b"\x00\x0b" + vec16(vec8(b"\x00"))
        return vec16(groups + formats + b"\x00\x17\x00\x00" + b"\xff\x01\x00\x01\x00")

    def data(self, seconds=5):
        while True:
            epoch, kind, body = self.receive(seconds)
            if epoch and kind == DATA:
                return body


class Client(Peer):
    def hello(self, cookie):
        version = b"\xfe\xff" if self.lie == "downgrade" else VERSION
        body = version + self.randoms[0] + vec8(b"") + vec8(cookie)
        body += vec16(struct.pack(">H", self.suite)) + vec8(b"\x00") + self.extensions()
        # A hello is answered without keeping anything: its cookie must be in one piece.
        lie, self.lie = self.lie, None
        self.send(*self.message(HELLO, body))
        self.lie = lie

    def run(self, port):
        self.socket.connect(("127.0.0.1", port))
        self.randoms[0] = os.urandom(32)
        self.hello(b"")
        reader = Reader(self.hear(VERIFY_REQUEST))
        reader.take(2)
        self.transcript = b""
        self.hello(reader.take(reader.number(1)))
        reader = Reader(self.hear(SERVER_HELLO))
        reader.take(2)
        self.randoms[1] = reader.take(32)
        reader.take(reader.number(1))
        assert reader.number(2) == self.suite
        peer_point = self.server_parameters()
        self.hear(DONE)
        self.finish(peer_point)
        print("connected", flush=True)
        self.talk()

    def server_parameters(self):
        """The server's point; nothing for a plain key, whose message is a hint and may be absent."""
        if self.suite == 0xC0A8 and self.next_kind() == DONE:
            return None
        reader = Reader(self.hear(SERVER_KEY_EXCHANGE))
        if self.suite != 0xFF00:
            reader.take(reader.number(2))
        if self.suite == 0xC0A8:
            return None
        assert reader.take(3) == b"\x03\x00\x17"
        peer_point = reader.take(reader.number(1))
        assert not reader.body, "something follows the parameters: a signature?"
        return peer_point

    def finish(self, peer_point):
        lie, flight = self.lie, []
        change = lambda: self.record(0, CCS, b"\x01")
        if lie == "unasked-certificate":
            flight += self.message(CERTIFICATE, bytes(3))
        if lie == "early-change-cipher":
            # CVE-2014-0224: switch before there are keys, go on under those of an empty secret.
            self.derive(b"", True, prf(b"", b"master secret", b"".join(self.randoms), 48))
            flight += [change(), *self.message(FINISHED, self.verify_data(b"client finished"), 1)]
            self.send(*flight)
            return self.check_finished(b"server finished")
        identity = vec16(IDENTITY) if self.suite != 0xFF00 else b""
        exchange = identity + (vec8(self.point()) if self.suite != 0xC0A8 else b"")
        if lie != "skip-key-exchange":
            flight += self.message(CLIENT_KEY_EXCHANGE, exchange)
        self.derive(self.premaster(peer_point), True)
        if lie == "zero-keys":
            self.derive(b"", True, bytes(48))
        if lie == "repeat-key-exchange":
            flight += self.message(CLIENT_KEY_EXCHANGE, exchange)
        if lie != "no-change-cipher":
            flight += [change()]
        if lie == "no-finished":
            self.send(*flight, self.record(1, DATA, b"hello"))
            return
        epoch = 0 if lie == "plain-finished" else 1
        flight += self.message(FINISHED, self.verify_data(b"client finished"), epoch)
        for _ in range(1 if lie != "repeat-flight" else 3):
            for piece in flight if lie == "fragments" else [b"".join(flight)]:
                self.send(piece)
        self.check_finished(b"server finished")

    def talk(self):
        """Says hello, after what may come before it; exactly one answer may come."""
        number = 1 << 48 | self.record_out[1]
        hello = self.record(1, DATA, b"hello")
        body = hello[13:]
        bad = []
        if self.lie == "flip":
            for bit in range(len(hello) * 8):
                # The length says how much is there; the rest of the header is authenticated.
                if bit // 8 not in (11, 12):
                    flipped = bytearray(hello)
                    flipped[bit // 8] ^= 1 << bit % 8
                    bad.append(bytes(flipped))
        if self.lie == "truncate":
            for length in range(len(body)):
                bad.append(hello[:11] + vec16(body[:length]))
                bad.append(hello[: 13 + length])
        if self.lie == "padding":
            inner = b"hello" + self.ours.mac_of(number, DATA, b"hello")
            for padding in (10, 26, 250):
                for lying in (0, 1, 9, 255):
                    tail = bytes([lying]) * padding + bytes([padding])
                    bad.append(hello[:11] + vec16(self.ours.encrypt(inner + tail)))
            for last in range(256):
                if last != 10:
                    tail = bytes([10]) * 10 + bytes([last])
                    bad.append(hello[:11] + vec16(self.ours.encrypt(inner + tail)))
        if self.lie == "plain-alerts":
            for description in (0, 10, 20, 40, 90):
                for level in (1, 2):
                    bad.append(self.record(0, ALERT, bytes([level, description])))
            bad.append(self.record(0, DATA, b"plain"))
        for n, record in enumerate(bad):
            self.send(record)
            if n % 50 == 49:
                # Not faster than a socket's buffer is emptied.
                time.sleep(0.02)
        for _ in range(5 if self.lie == "replay" else 1):
            self.send(hello)
        print(self.data().decode(), flush=True)
        try:
            print("and again:", self.data(1))
        except Silence:
            print("once,", len(bad), "lies before it", flush=True)


class Server(Peer):
    def run(self, port):
        self.socket.bind(("127.0.0.1", port))
        hello, address = self.socket.recvfrom(65536, socket.MSG_PEEK)
        self.socket.connect(address)
        self.hear(HELLO)
        self.send(*self.message(VERIFY_REQUEST, b"\xfe\xff" + vec8(b"cookie" * 4)))
        self.transcript = b""
        reader = Reader(self.hear(HELLO))
        reader.take(2)
        self.randoms = [reader.take(32), os.urandom(32)]
        reader.take(reader.number(1))
        assert reader.take(reader.number(1)) == b"cookie" * 4
        suites = reader.take(reader.number(2))
        assert struct.pack(">H", self.suite) in [suites[n : n + 2] for n in range(0, len(suites), 2)]
        # A suite that nobody offered (C02F), for the lie.
        suite = 0xC02F if self.lie == "other-suite" else self.suite
        ours = b"\x00\x17\x00\x00" + b"\xff\x01\x00\x01\x00"
        body = VERSION + self.randoms[1] + vec8(b"") + struct.pack(">HB", suite, 0) + vec16(ours)
        flight = self.message(SERVER_HELLO, body)
        hint = vec16(b"hint") if self.suite == 0xC037 else b""
        flight += self.message(SERVER_KEY_EXCHANGE, hint + b"\x03\x00\x17" + vec8(self.point()))
        flight += self.message(DONE, b"")
        self.send(*flight)
        reader = Reader(self.hear(CLIENT_KEY_EXCHANGE))
        if self.suite == 0xC037:
            assert reader.take(reader.number(2)) == IDENTITY
        self.derive(self.premaster(reader.take(reader.number(1))), False)
        self.check_finished(b"client finished")
        self.send(
            self.record(0, CCS, b"\x01"),
            *self.message(FINISHED, self.verify_data(b"server finished"), 1),
        )
        heard = self.data()
        print("connected", flush=True)
        print(heard.decode(), flush=True)
        self.send(self.record(1, DATA, b"echo: " + heard))


def main():
    role, port, suite, *lie = sys.argv[1:]
    random.seed(7)
    peer = {"client": Client, "server": Server}[role](int(suite, 16), lie[0] if lie else None)
    try:
        peer.run(int(port))
    except Alert as alert:
        print("alert", alert, flush=True)
    except Silence:
        print("silence", flush=True)
    except ConnectionRefusedError:
        print("gone", flush=True)


main()
