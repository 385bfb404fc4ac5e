// Package identity answers one question about a request: who is asking?
//
// A single sign-on gateway in front of the proxy has logged the visitor in and says so in request headers. Anybody
// else can send the same headers, so the answer depends on who the TCP peer is: [Peers] decides whether its headers
// count. A [Source] then removes from the request whatever must not be believed or passed on, reads the identity by
// the site's preset, verifies signed assertions against their keys, and returns an [Identity] or nobody, with the
// reason.
//
// The package keeps no state beyond a cache of verification keys, and never logs or returns in an error the value
// of an identity header.
package identity

// An Identity is a visitor as the gateway vouches for them.
type Identity struct {
	// ID identifies the person for good; it already carries the configured prefix and is never empty.
	ID string
	// Email is the address as the gateway gave it, or empty. Whether it is well formed is for the signer to judge.
	Email string
	// Name is for people to read, in Unicode normalization form C, or empty.
	Name string
	// EmailVerified says that the gateway vouches for Email; always false without one.
	EmailVerified bool
}

// A Reason says why a request is nobody's. The values are the constants below and no others, so it can be a metric's
// label. The empty Reason means that somebody is logged in.
type Reason string

// The reasons for which a request is nobody's.
const (
	ReasonNoHeaders       Reason = "no-identity-headers"   // the gateway says nothing: an anonymous visitor
	ReasonUntrustedPeer   Reason = "untrusted-peer"        // identity headers came, from a peer that may not set them
	ReasonNoID            Reason = "no-id"                 // there is an identity, but no id in it
	ReasonBadID           Reason = "bad-id"                // the id is too long or has characters that reorder text
	ReasonConflict        Reason = "conflicting-values"    // one identity header, two values
	ReasonConnection      Reason = "named-in-connection"   // an identity header is declared hop-by-hop
	ReasonAskUpstream     Reason = "ask-upstream"          // preset upstream: a request alone never says who it is
	ReasonBadPrincipal    Reason = "principal-malformed"   // Easy Auth's principal is not Base64 of the known JSON
	ReasonBadAssertion    Reason = "assertion-malformed"   // not a JWT, or too long, or with header parameters never allowed
	ReasonWrongAlgorithm  Reason = "assertion-algorithm"   // signed by another algorithm than the gateway's
	ReasonUnknownKey      Reason = "assertion-unknown-key" // its key id is not among the gateway's keys
	ReasonBadSignature    Reason = "assertion-signature"   // the signature does not fit
	ReasonExpired         Reason = "assertion-expired"     //
	ReasonNotYetValid     Reason = "assertion-not-yet-valid"
	ReasonBadLifetime     Reason = "assertion-lifetime" // no expiry, or one absurdly far away
	ReasonWrongIssuer     Reason = "assertion-issuer"
	ReasonWrongAudience   Reason = "assertion-audience"  // made for another application
	ReasonWrongSigner     Reason = "assertion-signer"    // made by another load balancer
	ReasonDisagree        Reason = "assertion-disagrees" // unsigned headers name someone else than the assertion does
	ReasonKeysUnavailable Reason = "keys-unavailable"    // no verification keys: they could not be fetched yet
)

// An Outcome is what a request, or a response of the upstream, says about who the visitor is.
type Outcome struct {
	Identity Identity // zero unless LoggedIn
	LoggedIn bool
	Reason   Reason // why nobody; empty when LoggedIn
	// Detail explains Reason to a person, or says what was left out of Identity. It holds header names, never their
	// values, so it may be logged and shown.
	Detail string
}
