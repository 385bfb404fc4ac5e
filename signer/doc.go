// Package signer makes the tokens by which Zendesk's widgets know who a visitor
// is: JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256 (HS256, RFC 7518
// section 3.2) under a secret that the operator shares with Zendesk.
//
// A [Secret] is where the key comes from, and may change while the program runs.
// A [Signer] makes tokens of one [Kind] from it; [Signer.Visitor] gives the opaque
// value by which a page recognises that the visitor is another one. [Inspect] is
// the other side: it judges a token as the verifiers behind the widgets would.
//
// The package knows neither HTTP nor HTML. Making a token is done by hand, since
// it is the hot path and the output must be the same to the byte; judging one is
// done with golang-jwt, so that maker and judge do not share their mistakes.
package signer
