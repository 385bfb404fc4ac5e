"""Prints the golden vectors of vectors.json, made with Python's standard library alone:

    python3 testdata/vectors.py > testdata/vectors.json

Run it again only when the format of tokens changes on purpose.
"""
import base64
import hashlib
import hmac
import json

NOW = 1_700_000_000
SECRET = b"correct horse battery staple, 40 bytes!!"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def token(header, claims):
    text = b".".join(b64(json.dumps(o, separators=(",", ":"), ensure_ascii=False).encode()) for o in (header, claims))
    return (text + b"." + b64(mac(SECRET, text))).decode()


def head(kid=None):
    h = {"alg": "HS256", "typ": "JWT"}
    if kid:
        h["kid"] = kid
    return h


def visitor(ident, email):
    key = mac(SECRET, b"zchatproxy visitor cookie, version 1")
    data = len(ident.encode()).to_bytes(8, "big") + ident.encode() + email.encode()
    return b64(mac(key, data)[:16]).decode()


iat = NOW - 10
vectors = {
    "now": NOW,
    "secret": SECRET.decode(),
    "fingerprint": hashlib.pbkdf2_hmac("sha256", SECRET, b"zchatproxy secret fingerprint, version 1", 65536).hex()[:8],
    "tokens": [
        {
            "name": "chat",
            "kind": "chat",
            "person": {"ID": "user-123456", "Email": "ada@example.com", "Name": "Ada Lovelace"},
            "token": token(head(), {"name": "Ada Lovelace", "email": "ada@example.com", "external_id": "user-123456", "iat": iat, "exp": iat + 300}),
        },
        {
            "name": "chat, seven minutes, key id, name beyond ASCII and JSON's own characters",
            "kind": "chat",
            "kid": "key/1",
            "ttl": "7m",
            "person": {"ID": "ünï", "Email": "j@example.com", "Name": 'José "Pepe" \\ 李 👩'},
            "token": token(head("key/1"), {"name": 'José "Pepe" \\ 李 👩', "email": "j@example.com", "external_id": "ünï", "iat": iat, "exp": iat + 420}),
        },
        {
            "name": "chat without a name",
            "kind": "chat",
            "person": {"ID": "1", "Email": "grace.hopper@example.com"},
            "token": token(head(), {"name": "grace.hopper", "email": "grace.hopper@example.com", "external_id": "1", "iat": iat, "exp": iat + 300}),
        },
        {
            "name": "messaging, verified address",
            "kind": "messaging",
            "kid": "app_1",
            "person": {"ID": "u1", "Email": "ada@example.com", "Name": "Ada", "EmailVerified": True},
            "token": token(head("app_1"), {"scope": "user", "name": "Ada", "email": "ada@example.com", "email_verified": True, "external_id": "u1", "iat": iat, "exp": iat + 300}),
        },
        {
            "name": "messaging, address not verified",
            "kind": "messaging",
            "kid": "app_1",
            "person": {"ID": "u1", "Email": "ada@example.com"},
            "token": token(head("app_1"), {"scope": "user", "name": "ada", "external_id": "u1", "iat": iat, "exp": iat + 300}),
        },
        {
            "name": "messaging, address omitted",
            "kind": "messaging",
            "kid": "app_1",
            "omitEmail": True,
            "person": {"ID": "u1", "Email": "ada@example.com", "Name": "Ada", "EmailVerified": True},
            "token": token(head("app_1"), {"scope": "user", "name": "Ada", "external_id": "u1", "iat": iat, "exp": iat + 300}),
        },
    ],
    "visitors": [
        {"id": "user-123456", "email": "ada@example.com", "hash": visitor("user-123456", "ada@example.com")},
        {"id": "ünï", "email": "", "hash": visitor("ünï", "")},
    ],
}
print(json.dumps(vectors, indent=2, ensure_ascii=False))
