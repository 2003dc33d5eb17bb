"""Payload encryption of draft-ietf-suit-firmware-encryption (ECDH-ES + A128KW, AES-128-GCM) by cbor2
and cryptography: decrypts what freshen made, or makes what freshen has to decrypt. One JSON object in,
one out."""

import hashlib
import json
import os
import sys

import cbor2
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

A128GCM, A128KW, ECDH_ES_A128KW = 1, -3, -29


def point(public):
    return public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def wrapping_key(private, public, protected):
    nobody = [None, None, None]
    context = [A128KW, nobody, nobody, [128, protected, b"SUIT Payload Encryption"]]
    shared = private.exchange(ec.ECDH(), public)
    return HKDF(hashes.SHA256(), 16, None, cbor2.dumps(context)).derive(shared)


def aad(protected):
    return cbor2.dumps(["Encrypt", protected, b""])


def decrypt(order):
    private = serialization.load_pem_private_key(order["key"].encode(), None)
    info = cbor2.loads(bytes.fromhex(order["info"]))
    assert info.tag == 96
    protected, unprotected, ciphertext, recipients = info.value
    assert cbor2.loads(protected) == {1: A128GCM} and ciphertext is None
    name = hashlib.sha256(point(private.public_key())).digest()[:8]
    [ours] = [recipient for recipient in recipients if recipient[1][4] == name]
    assert cbor2.loads(ours[0]) == {1: ECDH_ES_A128KW}
    key = ours[1][-1]
    assert key[1] == 2 and key[-1] == 1
    ephemeral = ec.EllipticCurvePublicNumbers(
        int.from_bytes(key[-2], "big"), int.from_bytes(key[-3], "big"), ec.SECP256R1()
    ).public_key()
    content = keywrap.aes_key_unwrap(wrapping_key(private, ephemeral, ours[0]), ours[2])
    sealed = bytes.fromhex(order["sealed"])
    return {"clear": AESGCM(content).decrypt(unprotected[5], sealed, aad(protected)).hex()}


def encrypt(order):
    content, nonce = os.urandom(16), os.urandom(12)
    recipients = []
    for pem in order["keys"]:
        public = serialization.load_pem_public_key(pem.encode())
        private = ec.generate_private_key(ec.SECP256R1())
        xy = point(private.public_key())[1:]
        protected = cbor2.dumps({1: ECDH_ES_A128KW})
        wrapped = keywrap.aes_key_wrap(wrapping_key(private, public, protected), content)
        header = {-1: {1: 2, -1: 1, -2: xy[:32], -3: xy[32:]}}
        if order["with_id"]:
            header = {4: hashlib.sha256(point(public)).digest()[:8], **header}
        recipients.append([protected, header, wrapped])
    protected = cbor2.dumps({1: A128GCM})
    info = cbor2.CBORTag(96, [protected, {5: nonce}, None, recipients])
    sealed = AESGCM(content).encrypt(nonce, bytes.fromhex(order["clear"]), aad(protected))
    return {"info": cbor2.dumps(info).hex(), "sealed": sealed.hex()}


order = json.load(sys.stdin)
json.dump({"decrypt": decrypt, "encrypt": encrypt}[order["do"]](order), sys.stdout)
