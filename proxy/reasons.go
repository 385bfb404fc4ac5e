package proxy

// ReasonText explains to a person why a page was passed on without the script, and what can be done about it.
// It is never empty.
func ReasonText(reason string) string {
	if text := reasonTexts[reason]; text != "" {
		return text
	}
	return "see the log of the proxy at ZCHAT_LOG_LEVEL=debug"
}

// Reasons returns every reason that has an explanation, for tests that hold them against what can happen.
func Reasons() []string {
	out := make([]string, 0, len(reasonTexts))
	for r := range reasonTexts {
		out = append(out, r)
	}
	return out
}

var reasonTexts = map[string]string{
	"off":                "ZCHAT_INJECT is off; write on or preview",
	"preview":            "ZCHAT_INJECT is preview and this visitor has not asked for it; open the page with ?__zchat=on",
	"path-excluded":      "ZCHAT_INCLUDE_PATHS or ZCHAT_EXCLUDE_PATHS leaves this path out; change them if it is meant to have the chat",
	"method":             "only pages that are asked for with GET or POST get the script",
	"fetch":              "the request comes from a page's own script (Sec-Fetch-Dest, X-Requested-With, HX-Request, …), so the answer is no document",
	"frame":              "the page is shown inside another one, which has the chat itself",
	"no-body":            "the response has no body",
	"partial":            "the response is a part of a page (206); parts are passed on as they are",
	"not-html":           "this is no HTML page: its Content-Type, or what stands at its beginning, says something else",
	"attachment":         "the page is to be saved, not shown (Content-Disposition: attachment)",
	"no-transform":       "Cache-Control: no-transform forbids changes; take it off this page on the site or in the cache before it",
	"signed":             "an HTTP message signature covers the body and would no longer verify",
	"coding-unknown":     "its Content-Encoding is none of gzip, deflate, br and zstd; make the site use one of these or none",
	"fragment":           "it is a piece of a page: no doctype and no html, head or body tag up to where a head would end",
	"no-head-end":        "neither a script nor the end of the head comes within the first 256 KiB; close the head earlier",
	"already-injected":   "its first script is already one of zchatproxy's; there is another zchatproxy behind this one",
	"charset-unknown":    "its character encoding is none that browsers know, or could not be kept; correct the charset in Content-Type",
	"xhtml-no-head":      "it is XHTML without <head>…</head>; serve it as text/html or give it a head",
	"xhtml-malformed":    "it is XHTML that an XML parser refuses; correct it, or serve it as text/html",
	"body-corrupt":       "its body does not decode, or broke off; ask the site for it without compression to compare",
	"upstream-broke-off": "the site broke off in the middle of the page; so does the answer to the visitor",
	"empty":              "there is nothing in it but white space",
	"revalidated":        "the browser's own copy is still good (304)",
	"csp-sandbox":        "its Content-Security-Policy has sandbox without allow-scripts, so no script runs at all",
	"csp-trusted-types":  "its Content-Security-Policy requires Trusted Types and lists policies that do not include ours",
	"csp-script":         "its Content-Security-Policy refuses the inline script; set ZCHAT_CSP=patch, or allow the script's hash",
}

// refusalText explains why no token was signed.
func refusalText(result string) string { return refusalTexts[result] }

var refusalTexts = map[string]string{
	"anonymous":           "nobody was logged in: the request carried no identity, or one that does not count",
	"incomplete-identity": "somebody is logged in, but an id or a well-formed e-mail address is missing",
	"cross-origin":        "another site, or a page under another origin, asked for a token",
	"method":              "a token was asked for with another method than GET",
	"limited":             "one visitor asked for more tokens than ZCHAT_TOKEN_LIMIT allows",
	"no-secret":           "the secret is missing, empty or cannot be read",
	"identity-check":      "the site did not answer when it was asked who is logged in",
	"keys-unavailable":    "the gateway's verification keys could not be fetched",
	"sign-failed":         "the token could not be signed; the log has the cause",
	"conflict":            "one request carried two identities, or named an identity header in Connection",
}
