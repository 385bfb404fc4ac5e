#!/usr/bin/env python3
"""Writes the golden assertions next to this file: python3 make.py (needs the package cryptography).

The assertions are put together here from RFC 7515 and the gateways' documentation, without a JWT library, so that they
test the verifier against something it does not share code with. Keys are made anew in each run and thrown away; the
clock stands still at NOW, in the tests too, so nothing here expires.
"""
import base64
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NOW = 1767225600  # 2026-01-01T00:00:00Z
ARN = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/shop/50dc6c495c0c9188"
OTHER_ARN = "arn:aws:elasticloadbalancing:eu-central-1:210987654321:loadbalancer/app/evil/0123456789abcdef"


def b64(data, pad=False):
    text = base64.urlsafe_b64encode(data).decode()
    return text if pad else text.rstrip("=")


def number(n, size):
    return b64(n.to_bytes(size, "big"))


class EC:
    alg = "ES256"

    def __init__(self, kid, curve=None, alg="ES256"):
        self.kid, self.alg = kid, alg
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        self.size = (self.key.curve.key_size + 7) // 8

    def sign(self, data):
        digest = hashes.SHA384() if self.alg == "ES384" else hashes.SHA256()
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(self.size, "big") + s.to_bytes(self.size, "big")

    def sign_der(self, data):
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def jwk(self):
        n = self.key.public_key().public_numbers()
        crv = {256: "P-256", 384: "P-384"}[self.key.curve.key_size]
        return {"kty": "EC", "crv": crv, "kid": self.kid, "use": "sig", "alg": self.alg,
                "x": number(n.x, self.size), "y": number(n.y, self.size)}

    def pem(self):
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


class RSA:
    def __init__(self, kid, alg="RS256", bits=2048):
        self.kid, self.alg = kid, alg
        self.key = rsa.generate_private_key(65537, bits)

    def sign(self, data):
        return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def sign_pss(self, data):
        return self.key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())

    def jwk(self):
        n = self.key.public_key().public_numbers()
        return {"kty": "RSA", "kid": self.kid, "use": "sig", "alg": self.alg,
                "n": number(n.n, (n.n.bit_length() + 7) // 8), "e": b64(b"\x01\x00\x01")}

    pem = EC.pem


def assemble(header, payload, sign, pad=False):
    text = ".".join(b64(json.dumps(part, separators=(",", ":")).encode(), pad) for part in (header, payload))
    return text + "." + b64(sign(text.encode()), pad)


class Gateway:
    """One preset: how its assertions look when all is well, and what can be wrong with them."""

    def __init__(self, preset, key, other, config, keys_url, header, payload, alb=False, unsigned=()):
        self.preset, self.key, self.other, self.config = preset, key, other, config
        self.keys_url, self.header, self.payload, self.alb, self.unsigned = keys_url, header, payload, alb, unsigned
        self.vectors = []

    def documents(self):
        if self.alb:
            return {self.keys_url + "/" + self.key.kid: self.key.pem()}
        # Keys of other kinds are in real sets too, and must neither hinder nor be used.
        strange = {"kty": "quantum", "kid": "strange", "use": "sig"}
        encryption = dict(self.other.jwk(), kid="for-encryption", use="enc")
        symmetric = {"kty": "oct", "kid": "symmetric", "alg": "HS256", "k": b64(b"k" * 32)}
        return {self.keys_url: json.dumps({"keys": [strange, symmetric, encryption, self.key.jwk()]})}

    def make(self, header=(), payload=(), drop=(), sign=None, pad=None):
        h = {k: v for k, v in {**self.header, **dict(header)}.items() if k not in drop}
        p = {k: v for k, v in {**self.payload, **dict(payload)}.items() if k not in drop}
        return assemble(h, p, sign or self.key.sign, self.alb if pad is None else pad)

    def good(self, title, assertion, headers=None, **identity):
        expect = {"id": self.payload["sub"], "email": self.payload["email"], "name": self.payload.get("name", self.payload["email"])}
        expect.update(identity)
        self.vectors.append({"name": title, "assertion": assertion, "headers": headers or {}, "identity": expect})

    def bad(self, name, reason, assertion, headers=None):
        self.vectors.append({"name": name, "assertion": assertion, "headers": headers or {}, "reason": reason})

    def times(self, **times):
        """Where the format has its times: ALB's expiry is in the header and, in practice, in the payload."""
        if self.alb and "exp" in times:
            return {"header": {"exp": times["exp"]}, "payload": times}
        return {"payload": times}

    def build(self):
        k, h = self.key, self.header
        self.good("valid", self.make())
        self.good("expired within the leeway", self.make(**self.times(exp=NOW - 20)))
        self.good("not before within the leeway", self.make(payload={"nbf": NOW + 20}))
        self.good("non-ASCII name", self.make(payload={"name": "Z\u00f6e \u65e5\u672c"}), name="Z\u00f6e \u65e5\u672c")
        self.good("encoded words and percent signs are text in JSON",
                  self.make(payload={"name": "=?utf-8?q?Eve?= 100%25"}), name="=?utf-8?q?Eve?= 100%25")
        self.good("claims in other letter case are other claims", self.make(payload={"SUB": "victim", "Email": "victim@example.com"}))
        self.bad("expired", "assertion-expired", self.make(**self.times(exp=NOW - 31)))
        self.bad("expired long ago", "assertion-expired", self.make(**self.times(exp=NOW - 86400)))
        self.bad("not yet valid", "assertion-not-yet-valid", self.make(payload={"nbf": NOW + 31}))
        self.bad("issued in the future", "assertion-not-yet-valid", self.make(payload={"iat": NOW + 31}))
        self.bad("no expiry", "assertion-lifetime", self.make(drop=["exp"]))
        self.bad("expiry as text", "assertion-malformed", self.make(payload={"exp": str(NOW + 60)}))
        self.bad("valid for years", "assertion-lifetime", self.make(**self.times(exp=NOW + 5 * 365 * 86400)))
        self.bad("other algorithm, key of that kind", "assertion-algorithm", self.make(header={"alg": self.other.alg}, sign=self.other.sign))
        self.bad("ES384", "assertion-algorithm", self.make(header={"alg": "ES384"}, sign=EC("x", ec.SECP384R1(), "ES384").sign))
        self.bad("EdDSA", "assertion-algorithm", self.make(header={"alg": "EdDSA"}, sign=lambda d: b"\0" * 64))
        for none in ("none", "None", "NONE", ""):
            self.bad("alg %r" % none, "assertion-algorithm", self.make(header={"alg": none}, sign=lambda d: b""))
        self.bad("no alg", "assertion-algorithm", self.make(drop=["alg"]))
        for what, secret in (("PEM", k.pem().encode()), ("JWK", json.dumps(k.jwk()).encode()), ("empty", b"")):
            mac = lambda d, secret=secret: hmac.new(secret, d, hashlib.sha256).digest()
            self.bad("HS256 keyed with the public key as " + what, "assertion-algorithm", self.make(header={"alg": "HS256"}, sign=mac))
        self.bad("unknown key id", "assertion-unknown-key", self.make(header={"kid": "11111111-2222-3333-4444-555555555555"}))
        self.bad("key id that climbs", "assertion-unknown-key", self.make(header={"kid": "../" + k.kid}))
        self.bad("key id as a number", "assertion-unknown-key", self.make(header={"kid": 7}))
        self.bad("no key id", "assertion-unknown-key", self.make(drop=["kid"]))
        self.bad("very long key id", "assertion-unknown-key", self.make(header={"kid": "k" * 5000}))
        self.bad("known key id, signed by another key", "assertion-signature", self.make(sign=type(k)(k.kid).sign))
        valid = self.make()
        head, body, signature = valid.split(".")
        forged = b64(json.dumps({**self.payload, "sub": "victim"}, separators=(",", ":")).encode(), self.alb)
        self.bad("tampered payload", "assertion-signature", ".".join([head, forged, signature]))
        flipped = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
        flipped[0] ^= 1
        self.bad("tampered signature", "assertion-signature", ".".join([head, body, b64(bytes(flipped), self.alb)]))
        self.bad("no signature", "assertion-signature", head + "." + body + ".")
        if k.alg == "ES256":
            self.bad("signature in DER", "assertion-signature", self.make(sign=k.sign_der))
            self.bad("signature of zeros", "assertion-signature", self.make(sign=lambda d: b"\0" * 64))
        else:
            self.bad("PS256", "assertion-algorithm", self.make(header={"alg": "PS256"}, sign=k.sign_pss))
        for parameter, value in (("crit", ["exp"]), ("jku", "https://evil.example/keys"), ("x5u", "https://evil.example/cert"),
                                 ("x5c", ["MIIB"]), ("jwk", self.key.jwk())):
            self.bad("header parameter " + parameter, "assertion-malformed", self.make(header={parameter: value}))
        own = type(k)("own")
        self.bad("signed with the key it brings along", "assertion-malformed", self.make(header={"jwk": own.jwk(), "kid": "own"}, sign=own.sign))
        self.bad("two segments", "assertion-malformed", head + "." + body)
        self.bad("five segments, as encrypted ones have", "assertion-malformed", valid + ".a.b")
        self.bad("not Base64", "assertion-malformed", "!!!." + body + "." + signature)
        self.bad("not JSON", "assertion-malformed", b64(b"hello", self.alb) + "." + body + "." + signature)
        self.bad("a word", "assertion-malformed", "alice")
        self.bad("quoted", "assertion-malformed", '"' + valid + '"')
        self.bad("with Bearer before it", "assertion-malformed", "Bearer " + valid)
        self.bad("huge", "assertion-malformed", self.make(payload={"groups": ["g%05d" % i for i in range(9000)]}))
        self.bad("no subject", "no-id", self.make(drop=["sub"]))
        self.bad("empty subject", "no-id", self.make(payload={"sub": ""}))
        self.bad("subject of another type", "no-id", self.make(payload={"sub": 42}))
        self.bad("subject that reorders text", "bad-id", self.make(payload={"sub": "u\u202e1"}))
        self.bad("subject too long", "bad-id", self.make(payload={"sub": "u" * 256}))
        for header, same, other in self.unsigned:
            self.good("agrees with " + header, self.make(), {header: same})
            self.bad("disagrees with " + header, "assertion-disagrees", self.make(), {header: other})
        if self.alb:
            self.good("without padding", self.make(pad=False))
            self.good("expiry in the header alone", assemble(h, {c: v for c, v in self.payload.items() if c != "exp"}, k.sign, True))
            self.bad("expired in the header alone", "assertion-expired", self.make(header={"exp": NOW - 60}))
            self.bad("expired in the payload alone", "assertion-expired", self.make(payload={"exp": NOW - 60}))
            self.bad("expiry as text in the header", "assertion-lifetime", self.make(header={"exp": str(NOW + 60)}))
            self.bad("another load balancer's signer", "assertion-signer", self.make(header={"signer": OTHER_ARN}))
            self.bad("no signer", "assertion-signer", self.make(drop=["signer"]))
            self.bad("several signers", "assertion-signer", self.make(header={"signer": [ARN, OTHER_ARN]}))
            self.bad("another issuer", "assertion-issuer", self.make(header={"iss": "https://evil.example"}))
            return
        self.good("several audiences", self.make(payload={"aud": ["other", self.payload["aud"]]}))
        self.bad("with padding", "assertion-malformed", self.make(payload={"name": "padding needs a length"}, pad=True)
                 if "=" in self.make(payload={"name": "padding needs a length"}, pad=True) else self.make(payload={"name": "padding"}, pad=True))
        self.bad("wrong audience", "assertion-audience", self.make(payload={"aud": "other"}))
        self.bad("wrong audiences", "assertion-audience", self.make(payload={"aud": ["other", self.payload["aud"] + "x"]}))
        self.bad("no audience", "assertion-audience", self.make(drop=["aud"]))
        self.bad("empty audience", "assertion-audience", self.make(payload={"aud": []}))
        self.bad("wrong issuer", "assertion-issuer", self.make(payload={"iss": "https://evil.example"}))
        self.bad("issuer with a slash more", "assertion-issuer", self.make(payload={"iss": self.payload["iss"] + "/"}))
        self.bad("no issuer", "assertion-issuer", self.make(drop=["iss"]))
        self.bad("key for encryption", "assertion-unknown-key", self.make(header={"kid": "for-encryption"}))
        self.bad("symmetric key of the set", "assertion-unknown-key", self.make(header={"kid": "symmetric"}))


def gateways():
    es, rs = EC("7e5b2c1d-0000-4000-8000-0123456789ab"), RSA("cf-key-1")
    times = {"iat": NOW - 5, "exp": NOW + 115}
    yield Gateway(
        "pomerium", es, RSA("other"), {"audience": "shop.example.com"},
        "https://shop.example.com/.well-known/pomerium/jwks.json", {"alg": "ES256", "typ": "JWT", "kid": es.kid},
        {"iss": "shop.example.com", "aud": "shop.example.com", "sub": "9f2a", "user": "9f2a", "email": "ann@example.com",
         "name": "Ann Lee", "groups": ["g1", "g2"], "jti": "1", **times},
        unsigned=[("X-Pomerium-Claim-Email", "ann@example.com", "eve@example.com"), ("X-Pomerium-Claim-Sub", "9f2a", "9f2b")])
    yield Gateway(
        "cloudflare-access", rs, EC("other"),
        {"audience": "4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2", "issuer": "https://team.cloudflareaccess.com"},
        "https://team.cloudflareaccess.com/cdn-cgi/access/certs", {"alg": "RS256", "kid": rs.kid, "typ": "JWT"},
        {"aud": "4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2", "email": "ann@example.com",
         "iss": "https://team.cloudflareaccess.com", "type": "app", "identity_nonce": "x", "sub": "ca639bb9-26ab-42e5-b9bf-3aea27b331fd",
         "country": "US", "nbf": NOW - 5, "iat": NOW - 5, "exp": NOW + 86400},
        unsigned=[("Cf-Access-Authenticated-User-Email", "Ann@Example.com", "eve@example.com")])
    alb = EC("a1b2c3d4-5678-4abc-9def-0123456789ab")
    yield Gateway(
        "aws-alb", alb, RSA("other"), {"audience": ARN, "issuer": "https://idp.example"},
        "https://public-keys.auth.elb.eu-central-1.amazonaws.com",
        {"typ": "JWT", "kid": alb.kid, "alg": "ES256", "iss": "https://idp.example", "client": "shop", "signer": ARN, "exp": NOW + 115},
        {"sub": "8d1c", "email": "ann@example.com", "email_verified": "true", "name": "Ann Lee", "username": "ann",
         "exp": NOW + 115, "iss": "https://idp.example"},
        alb=True, unsigned=[("X-Amzn-Oidc-Identity", "8d1c", "8d1d")])
    iap = EC("LYyP2g")
    yield Gateway(
        "google-iap", iap, RSA("other"), {"audience": "/projects/123/global/backendServices/456"},
        "https://www.gstatic.com/iap/verify/public_key-jwk", {"alg": "ES256", "typ": "JWT", "kid": iap.kid},
        {"aud": "/projects/123/global/backendServices/456", "iss": "https://cloud.google.com/iap",
         "sub": "accounts.google.com:1029384756", "email": "ann@example.com", "azp": "/projects/123/global/backendServices/456",
         "hd": "example.com", "iat": NOW - 5, "exp": NOW + 595},
        unsigned=[("X-Goog-Authenticated-User-Email", "accounts.google.com:ann@example.com", "accounts.google.com:eve@example.com"),
                  ("X-Goog-Authenticated-User-Id", "accounts.google.com:1029384756", "accounts.google.com:1")])


def main():
    for g in gateways():
        g.build()
        names = [v["name"] for v in g.vectors]
        assert len(names) == len(set(names)), names
        out = {"now": NOW, "config": g.config, "documents": g.documents(), "vectors": g.vectors}
        path = pathlib.Path(__file__).with_name(g.preset + ".json")
        path.write_text(json.dumps(out, indent=1, ensure_ascii=True) + "\n")
        print(path.name, len(g.vectors))


main()
