"""AWS KMS for tests: moto's, with its faults mended, and faults of our own on request.

    python kms_emulator.py --access-key ID --secret KEY [--certificate PEM --private-key PEM]

Prints its port as one line of JSON, then obeys orders: one line of JSON on standard input each, answered by one line. Ends with
its standard input, so that it never outlives the test that started it. State is in memory.

Mended, since the backend under test could not be tested otherwise (moto 5.2):

* requests are authenticated: access key, signature (SigV4), and a clock that is five minutes off at most;
* MessageType DIGEST is signed as a digest, whose length is checked; messages have 1 to 4096 bytes;
* keys that are disabled or about to be deleted are not used, described keys say what they are for;
* Ed25519 keys, DeriveSharedSecret, and the usages that go with each kind of key;
* another key than the encrypting one does not decrypt, and what was altered is InvalidCiphertextException;
* GetPublicKey refuses symmetric keys and answers with ARNs; ListAliases has pages;
* an alias is given to one of several at once, and not to a dying key; deletion is scheduled and cancelled once.
"""

import argparse
import base64
import datetime
import hashlib
import hmac
import io
import json
import re
import socket
import ssl
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from moto.core.exceptions import JsonRESTError, ServiceException
from moto.kms import models, responses, utils
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

EDWARDS = "ECC_NIST_EDWARDS25519"
USAGES = {
    "SYMMETRIC_DEFAULT": ["ENCRYPT_DECRYPT"],
    "ECC_NIST_P256": ["SIGN_VERIFY", "KEY_AGREEMENT"],
    EDWARDS: ["SIGN_VERIFY"],
}
SIGNING = {"ECC_NIST_P256": ["ECDSA_SHA_256"], EDWARDS: ["ED25519_SHA_512", "ED25519_PH_SHA_512"]}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ACCOUNT = "123456789012"
CALLS = [
    "CancelKeyDeletion",
    "CreateAlias",
    "CreateKey",
    "Decrypt",
    "DeleteAlias",
    "DeriveSharedSecret",
    "DescribeKey",
    "EnableKey",
    "GenerateDataKey",
    "GetPublicKey",
    "ListAliases",
    "ListResourceTags",
    "ScheduleKeyDeletion",
    "Sign",
]
SKEW = datetime.timedelta(minutes=5)

state_lock = threading.RLock()


class EdwardsKey(utils.AbstractPrivateKey):
    def __init__(self):
        self.private_key = ed25519.Ed25519PrivateKey.generate()

    def sign(self, message, signing_algorithm):
        return self.private_key.sign(message)

    def verify(self, message, signature, signing_algorithm):
        raise NotImplementedError

    def public_key(self):
        return self.private_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )


stock_specs = utils.KeySpec.key_specs
utils.KeySpec.key_specs = classmethod(lambda cls: sorted([*stock_specs(), EDWARDS]))
stock_private_key = models.generate_private_key
models.generate_private_key = lambda spec: EdwardsKey() if spec == EDWARDS else stock_private_key(spec)


def stock_description(key):
    return stock_to_dict(key)["KeyMetadata"]


def description(key):
    """What a key is, with the algorithms of its usage alone."""
    metadata = stock_description(key)
    for field in ("SigningAlgorithms", "EncryptionAlgorithms"):
        metadata.pop(field, None)
    metadata["Enabled"] = key.key_state == "Enabled"
    if key.key_usage == "SIGN_VERIFY":
        metadata["SigningAlgorithms"] = SIGNING.get(key.key_spec, [])
    elif key.key_usage == "KEY_AGREEMENT":
        metadata["KeyAgreementAlgorithms"] = ["ECDH"]
    elif key.key_spec == "SYMMETRIC_DEFAULT":
        metadata["EncryptionAlgorithms"] = ["SYMMETRIC_DEFAULT"]
    return {"KeyMetadata": metadata}


stock_to_dict = models.Key.to_dict
models.Key.to_dict = description


def private_half(spec, secret):
    if spec == EDWARDS:
        return ed25519.Ed25519PrivateKey.from_private_bytes(secret)
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def refuse(code, message):
    raise JsonRESTError(code, message)


class Mended(responses.KmsResponse):
    """moto's handlers, with those that are wrong replaced."""

    def key(self, usage=None, dying=False, disabled=False):
        """The key that the request names, if its state and usage allow the request."""
        self._validate_key_id(self._get_param("KeyId"))
        key = self.kms_backend.describe_key(self._get_param("KeyId"))
        if key.key_state == "PendingDeletion" and not dying:
            refuse("KMSInvalidStateException", f"{key.arn} is pending deletion.")
        if key.key_state == "Disabled" and not disabled:
            refuse("DisabledException", f"{key.arn} is disabled.")
        if key.key_state not in ("Enabled", "Disabled", "PendingDeletion"):
            refuse("KMSInvalidStateException", f"{key.arn} is in state {key.key_state}.")
        if usage and key.key_usage != usage:
            refuse("InvalidKeyUsageException", f"{key.arn} key usage is {key.key_usage} which is not valid.")
        return key

    def create_key(self):
        spec = self._get_param("KeySpec") or "SYMMETRIC_DEFAULT"
        usage = self._get_param("KeyUsage") or "ENCRYPT_DECRYPT"
        if spec in USAGES and usage not in USAGES[spec]:
            refuse("ValidationException", f"The operation failed because the KeyUsage value {usage} is not valid for {spec}.")
        made = json.loads(super().create_key())["KeyMetadata"]["KeyId"]
        key = self.kms_backend.keys[made]
        key.key_usage, key.multi_region = usage, bool(key.multi_region)
        return json.dumps(key.to_dict())

    def get_public_key(self):
        key = self.key()
        if key.key_spec == "SYMMETRIC_DEFAULT":
            refuse("UnsupportedOperationException", f"{key.arn} is a symmetric key.")
        answer = {
            "KeyId": key.arn,
            "KeySpec": key.key_spec,
            "KeyUsage": key.key_usage,
            "PublicKey": base64.b64encode(key.private_key.public_key()).decode(),
        }
        return json.dumps(answer)

    def sign(self):
        key = self.key(usage="SIGN_VERIFY")
        message, kind = self._get_param("Message"), self._get_param("MessageType") or "RAW"
        algorithm = self._get_param("SigningAlgorithm")
        if not 1 <= len(message) <= 4096:
            refuse("ValidationException", "1 validation error detected: Value at 'message' failed to satisfy constraint.")
        if algorithm not in SIGNING.get(key.key_spec, []):
            refuse("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {key.key_spec}.")
        private = key.private_key.private_key
        if algorithm == "ECDSA_SHA_256":
            digest = message if kind == "DIGEST" else hashlib.sha256(message).digest()
            if len(digest) != 32:
                refuse("ValidationException", f"Digest is invalid length for algorithm {algorithm}.")
            signature = private.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        elif algorithm == "ED25519_SHA_512" and kind == "RAW":
            signature = private.sign(message)
        else:
            refuse("ValidationException", f"MessageType {kind} cannot be signed by {algorithm}.")
        answer = {"KeyId": key.arn, "Signature": base64.b64encode(signature).decode(), "SigningAlgorithm": algorithm}
        return json.dumps(answer)

    def derive_shared_secret(self):
        key = self.key(usage="KEY_AGREEMENT")
        if self._get_param("KeyAgreementAlgorithm") != "ECDH":
            refuse("ValidationException", "KeyAgreementAlgorithm must be ECDH.")
        try:
            peer = serialization.load_der_public_key(base64.b64decode(self._get_param("PublicKey")))
            secret = key.private_key.private_key.exchange(ec.ECDH(), peer)
        except (TypeError, ValueError):
            refuse("ValidationException", "Invalid public key.")
        answer = {
            "KeyId": key.arn,
            "SharedSecret": base64.b64encode(secret).decode(),
            "KeyAgreementAlgorithm": "ECDH",
            "KeyOrigin": "AWS_KMS",
        }
        return json.dumps(answer)

    def generate_data_key(self):
        key = self.key(usage="ENCRYPT_DECRYPT")
        answer = json.loads(super().generate_data_key())
        return json.dumps({**answer, "KeyId": key.arn})

    def decrypt(self):
        key = self.key(usage="ENCRYPT_DECRYPT")
        try:
            plain, encrypted_by = utils.decrypt(
                self.kms_backend.keys,
                self._get_param("CiphertextBlob"),
                self._get_param("EncryptionContext", {}),
            )
        except Exception:
            refuse("InvalidCiphertextException", "")
        if encrypted_by != key.id:
            refuse("IncorrectKeyException", "The key ID in the request does not identify a key that can perform this operation.")
        answer = {
            "KeyId": key.arn,
            "Plaintext": base64.b64encode(plain).decode(),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }
        return json.dumps(answer)

    def create_alias(self):
        self._validate_cmk_id(self._get_param("TargetKeyId"))
        key = self.kms_backend.describe_key(self._get_param("TargetKeyId"))
        if key.key_state == "PendingDeletion":
            refuse("KMSInvalidStateException", f"{key.arn} is pending deletion.")
        if len(self._get_param("AliasName")) > 256:
            refuse("InvalidAliasNameException", "")
        return super().create_alias()

    def list_aliases(self):
        aliases = json.loads(super().list_aliases())["Aliases"]
        limit, start = self._get_param("Limit", 50), int(self._get_param("Marker", "0"))
        page = {"Aliases": aliases[start : start + limit], "Truncated": start + limit < len(aliases)}
        if page["Truncated"]:
            page["NextMarker"] = str(start + limit)
        return json.dumps(page)

    def disable_key(self):
        self.key(disabled=True)
        return super().disable_key()

    def enable_key(self):
        self.key(disabled=True)
        return super().enable_key()

    def schedule_key_deletion(self):
        key = self.key(disabled=True)
        days = self._get_param("PendingWindowInDays", 30)
        if not 7 <= days <= 30:
            refuse("ValidationException", "PendingWindowInDays must be between 7 and 30.")
        answer = json.loads(super().schedule_key_deletion())
        return json.dumps({**answer, "KeyId": key.arn, "KeyState": "PendingDeletion", "PendingWindowInDays": days})

    def cancel_key_deletion(self):
        key = self.key(dying=True, disabled=True)
        if key.key_state != "PendingDeletion":
            refuse("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
        super().cancel_key_deletion()
        return json.dumps({"KeyId": key.arn})


def handle(call, region, body):
    """The answer of KMS to a call, without moto's dispatch, which takes longer than the call."""
    handler = Mended()
    handler.body, handler.region, handler.current_account = body, region, ACCOUNT
    method = getattr(handler, re.sub("(?<!^)(?=[A-Z])", "_", call).lower(), None)
    try:
        if method is None or call not in CALLS:
            refuse("UnknownOperationException", "")
        return 200, (method() or "{}").encode()
    except (JsonRESTError, ServiceException) as refusal:
        code = getattr(refusal, "error_type", None) or getattr(refusal, "code", "")
        return 400, json.dumps({"__type": code, "message": str(refusal.message)}).encode()


def authentication(headers, body, now, access_key, secret):
    """Why a request is not answered, as code and message, or nothing."""
    scheme, _, parameters = headers.get("Authorization", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return "MissingAuthenticationTokenException", "Missing Authentication Token"
    fields = dict(part.strip().split("=", 1) for part in parameters.split(","))
    who, *scope = fields["Credential"].split("/")
    if who != access_key:
        return "UnrecognizedClientException", "The security token included in the request is invalid."
    stamp = headers["X-Amz-Date"]
    sent = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
    if sent < now - SKEW:
        return "InvalidSignatureException", f"Signature expired: {stamp} is now earlier than {now:%Y%m%dT%H%M%SZ}"
    if sent > now + SKEW:
        return "InvalidSignatureException", f"Signature not yet current: {stamp} is still later than {now:%Y%m%dT%H%M%SZ}"
    names = fields["SignedHeaders"].split(";")
    canonical = "\n".join(
        ["POST", "/", ""]
        + [f"{name}:{headers.get(name, '').strip()}" for name in names]
        + ["", ";".join(names), hashlib.sha256(body).hexdigest()]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, "/".join(scope), digest])
    key = ("AWS4" + secret).encode()
    for part in [*scope, to_sign]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(key.hex(), fields["Signature"]):
        return "InvalidSignatureException", "The request signature we calculated does not match the signature you provided."
    return None


class Faults:
    """What goes wrong next, for which call, and how often."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rules = []
        self.released = threading.Event()

    def add(self, rule):
        with self.lock:
            self.rules.append({"call": "*", "times": -1, **rule})

    def clear(self):
        with self.lock:
            self.rules = []
            self.released.set()
            self.released = threading.Event()

    def next(self, call):
        with self.lock:
            for rule in self.rules:
                if rule["call"] in (call, "*") and rule["times"] != 0:
                    rule["times"] -= 1
                    return rule, self.released
        return None, None


def altered(body, rule):
    """An answer with something in it replaced."""
    answer = json.loads(body)
    if rule["kind"] == "high-s":
        r, s = decode_dss_signature(base64.b64decode(answer["Signature"]))
        answer["Signature"] = base64.b64encode(encode_dss_signature(r, max(s, P256_ORDER - s))).decode()
    else:
        part = answer
        for name in rule.get("inside", []):
            part = part[name]
        if rule.get("value") is None:
            part.pop(rule["field"], None)
        else:
            part[rule["field"]] = rule["value"]
    return json.dumps(answer).encode()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    emulator = None

    def setup(self):
        super().setup()
        self.emulator.connections.add(self.connection)

    def finish(self):
        self.emulator.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:
            pass

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return f"{self.emulator.now():%a, %d %b %Y %H:%M:%S GMT}"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self.emulator.serve(self, body)
        except OSError:
            self.close_connection = True

    def cut(self):
        """Ends the connection as a crash does: with a reset, and without an answer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def answer(self, status, content, dribble=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if dribble is None:
            self.wfile.write(content)
            return
        for place in range(len(content)):
            self.wfile.write(content[place : place + 1])
            self.wfile.flush()
            dribble.wait(0.2)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, *_):
        """Connections end as they like."""


class Emulator:
    def __init__(self, options):
        self.options = options
        self.faults = Faults()
        self.calls = {}
        self.connections = set()
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.handler = type("OurHandler", (Handler,), {"emulator": self})
        self.port = 0
        self.ahead = datetime.timedelta()
        self.up()

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + self.ahead

    def serve(self, http, body):
        call = http.headers.get("X-Amz-Target", "").rpartition(".")[2]
        refused = authentication(
            http.headers, body, self.now(), self.options.access_key, self.options.secret
        )
        if refused:
            answer = {"__type": refused[0], "message": refused[1]}
            return http.answer(400, json.dumps(answer).encode())
        rule, released = self.faults.next(call)
        kind = rule["kind"] if rule else None
        if kind == "error":
            answer = {"__type": rule["code"], "message": rule.get("message", "")}
            return http.answer(rule.get("status", 400), json.dumps(answer).encode())
        if kind == "hang":
            released.wait()
        if kind in ("reset", "hang"):
            return http.cut()
        if kind == "garbage":
            return http.answer(200, b"<html>busy</html>")
        status, content = self.ask(call, http, body)
        if kind == "lose":
            return http.cut()
        if kind in ("high-s", "replace") and status == 200:
            content = altered(content, rule)
        return http.answer(status, content, dribble=released if kind == "slow" else None)

    def ask(self, call, http, body):
        # One at a time: moto looks and changes in two steps.
        with state_lock:
            self.calls[call] = self.calls.get(call, 0) + 1
            if http.headers.get("X-Amz-Target", "").startswith("TrentService."):
                region = http.headers["Authorization"].split("/")[2]
                return handle(call, region, body)
            return self.ask_moto(http, body)

    def ask_moto(self, http, body):
        environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in http.headers.items()}
        environ |= {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "CONTENT_TYPE": http.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        started = {}
        parts = self.moto(environ, lambda status, headers, *_: started.update(status=status))
        return int(started["status"].split()[0]), b"".join(parts)

    def up(self):
        self.server = Server(("127.0.0.1", self.port), self.handler)
        if self.options.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.options.certificate, self.options.private_key)
            # The handshake belongs to the connection's own thread.
            self.server.socket = tls.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def keys(self):
        regions = models.kms_backends[ACCOUNT]
        for backend in list(regions.values()):
            for key in list(backend.keys.values()):
                yield backend, key

    def obey(self, order):
        """An order of the test."""
        match order["do"]:
            case "fault":
                self.faults.add(order)
            case "clear":
                self.faults.clear()
            case "down":
                self.down()
            case "up":
                self.up()
            case "clock":
                self.ahead = datetime.timedelta(minutes=order["minutes"])
            case "calls":
                with state_lock:
                    return dict(self.calls)
            case "keys":
                with state_lock:
                    return [
                        {
                            "id": key.id,
                            "state": key.key_state,
                            "spec": key.key_spec,
                            "aliases": sorted(key.aliases),
                            "tags": backend.tagger.get_tag_dict_for_resource(key.id),
                        }
                        for backend, key in self.keys()
                    ]
            case "set":
                with state_lock:
                    for _, key in self.keys():
                        if key.id == order["id"]:
                            setattr(key, order["field"], order["value"])
            case "secret":
                # Another private half, one that the test knows.
                with state_lock:
                    for _, key in self.keys():
                        if key.id == order["id"]:
                            key.private_key.private_key = private_half(key.key_spec, bytes.fromhex(order["secret"]))
            case "point":
                with state_lock:
                    for _, key in self.keys():
                        key.aliases.pop(order["alias"], None)
                    for backend, key in self.keys():
                        if key.id == order["id"]:
                            backend.create_alias(key.id, order["alias"])
            case unknown:
                return {"error": f"no such order: {unknown}"}
        return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--access-key", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--private-key")
    emulator = Emulator(parser.parse_args())
    print(json.dumps({"port": emulator.port}), flush=True)
    for line in sys.stdin:
        print(json.dumps(emulator.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
