package wire

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The reference reads a whole stream at once, with regular expressions: slow, and as
// far from the guard's state machine as the same rules allow.

type refRequest struct {
	method, target, host string
	body                 string
	whole                bool // the body came to its end
}

var (
	refLine   = regexp.MustCompile(`^([!#$%&'*+.^_` + "`" + `|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/([0-9])\.([0-9])$`)
	refField  = regexp.MustCompile(`^([!#$%&'*+.^_` + "`" + `|~0-9A-Za-z-]+):((?:[\t\x20-\x7e]|[^\x00-\x7f])*)$`)
	refLength = regexp.MustCompile(`^[0-9]+$`)
	refSize   = regexp.MustCompile(`^([0-9a-fA-F]{1,15})(?:[ \t]*;(?:[\t\x20-\x7e]|[^\x00-\x7f])*)?$`)
	refFold   = regexp.MustCompile(`[^a-z]`)
	refTarget = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://([A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+)(?:[/?#].*)?$`)
)

// reference returns the requests whose heads are acceptable, up to the first that is not.
func reference(input []byte) []refRequest {
	var requests []refRequest
	// Bytes that are no UTF-8 are characters of their own here, which is all that matters.
	rest := latin1(input)
	for {
		rest = strings.TrimPrefix(rest, "\r\n")
		head, after, found := strings.Cut(rest, "\r\n\r\n")
		if !found {
			return requests
		}
		r, fields, ok := refHead(head)
		if !ok {
			return requests
		}
		length, coding := fields["content-length"], fields["transfer-encoding"]
		r.whole = true
		if coding != nil {
			r.body, after, r.whole = refChunks(after)
		} else if length != nil {
			n, err := strconv.ParseInt(length[0], 10, 64)
			if err != nil {
				return requests
			}
			runes := []rune(after)
			r.whole = n <= int64(len(runes))
			n = min(n, int64(len(runes)))
			r.body, after = string(runes[:n]), string(runes[n:])
		}
		requests = append(requests, r)
		if !r.whole {
			return requests
		}
		rest = after
	}
}

func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

func refHead(head string) (r refRequest, fields map[string][]string, ok bool) {
	lines := strings.Split(head, "\r\n")
	line := refLine.FindStringSubmatch(lines[0])
	if line == nil || line[1] == "PRI" || line[3] != "1" {
		return r, nil, false
	}
	fields = map[string][]string{}
	for _, l := range lines[1:] {
		f := refField.FindStringSubmatch(l)
		if f == nil {
			return r, nil, false
		}
		name := strings.ToLower(f[1])
		if folded := refFold.ReplaceAllString(name, "-"); folded != name && (folded == "content-length" || folded == "transfer-encoding") {
			return r, nil, false
		}
		value := strings.TrimLeft(f[2], " \t")
		if (name == "content-length" || name == "transfer-encoding") && len([]rune(value)) > 24 {
			return r, nil, false // nothing that is right is as long
		}
		fields[name] = append(fields[name], strings.TrimRight(value, " \t"))
	}
	old := line[4] == "0"
	hosts, length, coding := fields["host"], fields["content-length"], fields["transfer-encoding"]
	switch {
	case len(hosts) > 1 || len(hosts) == 0 && !old,
		len(length) > 1 || len(length) == 1 && !refLength.MatchString(length[0]),
		len(coding) > 1 || len(coding) == 1 && (old || length != nil || strings.ToLower(coding[0]) != "chunked"):
		return r, nil, false
	}
	r = refRequest{method: line[1], target: line[2]}
	if len(hosts) == 1 {
		r.host = hosts[0]
	}
	if r.target[0] != '/' && r.target[0] != '*' && r.method != "CONNECT" {
		t := refTarget.FindStringSubmatch(r.target)
		if t == nil || len(hosts) == 1 && refHost(t[2], t[1]) != refHost(r.host, t[1]) {
			return r, nil, false
		}
		// No host is as long; the guard has room for these.
		if len(r.host) > maxAuthority || len(t[1]+"://"+t[2]) > len("https://")+maxAuthority {
			return r, nil, false
		}
		r.host = t[2]
	}
	return r, fields, true
}

func refHost(host, scheme string) string {
	port := "80"
	if strings.ToLower(scheme) == "https" {
		port = "443"
	}
	return strings.TrimSuffix(strings.ToLower(host), ":"+port)
}

func refChunks(in string) (body, rest string, whole bool) {
	for {
		line, after, found := strings.Cut(in, "\r\n")
		size := refSize.FindStringSubmatch(line)
		if !found || size == nil {
			return body, "", false
		}
		n, err := strconv.ParseInt(size[1], 16, 64)
		if err != nil || n == 0 {
			rest, whole = refTrailers(after)
			return body, rest, whole && err == nil
		}
		if runes := []rune(after); n+2 <= int64(len(runes)) && string(runes[n:n+2]) == "\r\n" {
			body += string(runes[:n])
			in = string(runes[n+2:])
			continue
		} else {
			return body + string(runes[:min(n, int64(len(runes)))]), "", false
		}
	}
}

func refTrailers(in string) (rest string, whole bool) {
	for {
		line, after, found := strings.Cut(in, "\r\n")
		if !found {
			return "", false
		}
		if line == "" {
			return after, true
		}
		f := refField.FindStringSubmatch(line)
		if f == nil {
			return "", false
		}
		switch refFold.ReplaceAllString(strings.ToLower(f[1]), "-") {
		case "content-length", "transfer-encoding", "host":
			return "", false
		}
		in = after
	}
}

// acceptable are streams that pass whole; refusedStreams do not. Both seed the fuzzing and are
// tried at every split.
var acceptable = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.1\r\nHost:\r\n\r\n",
	"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
	"get /%zz;a=b?x=;y&&#frag HTTP/1.1\r\nHOST: \t a:80 \t \r\nX-Empty:\r\nX: \xe9\t\x80 \"<>\" \r\n\r\n",
	"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://A:80?q HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET HTTPS://a HTTP/1.1\r\nHost: A:443\r\n\r\n",
	"GET http://[::1]:8080/ HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
	"GET http://a/ HTTP/1.0\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
	"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:0005\r\n\r\n\n\r\x00\n\rGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tCHUNKED \r\n\r\n00A;x=\"y;z\"\r\n0123456789\r\n1 ;\r\n\r\r\n0;last\r\nTrailer-A: 1\r\nB:\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX-Transfer-Encoding: x\r\nContent_Lengths: 1\r\nContent-Lengt: 2\r\n\r\n",
	"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
}

// refused is a stream with a fault.
type refused struct {
	name, stream string
	remedy       remedy
}

var refusedStreams = func() []refused {
	const get, post = "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\n"
	const chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	list := []refused{
		{"length and coding", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", answer400},
		{"coding and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", answer400},
		{"coding that is unknown and length", post + "Transfer-Encoding: x\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", answer400},
		{"coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", answer400},
		{"coding with much white space", post + "Transfer-Encoding: chunked" + strings.Repeat(" ", 30) + "\r\n\r\n0\r\n\r\n", answer400},
		{"two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", answer400},
		{"equal lengths", post + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", answer400},
		{"folded field", get + "X: a\r\n b\r\n\r\n", answer400},
		{"folded by a tab", get + "X: a\r\n\tb\r\n\r\n", answer400},
		{"white space after the request line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", answer400},
		{"line of white space alone", get + " \r\n\r\n", answer400},
		{"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", answer400},
		{"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", answer400},
		{"bare LF at the end", get + "\n", answer400},
		{"bare LF before", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"two empty lines before", "\r\n\r\n" + get + "\r\n", answer400},
		{"bare CR in a field", get + "X: a\rb\r\n\r\n", answer400},
		{"bare CR in the request line", "GET /\rHTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"bare CR at the end", get + "\rX: y\r\n\r\n", answer400},
		{"two CRs", get + "X: a\r\r\n\r\n", answer400},
		{"NUL in a value", get + "X: a\x00b\r\n\r\n", answer400},
		{"NUL in a name", get + "X\x00: a\r\n\r\n", answer400},
		{"NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"control character in a value", get + "X: \x1b\r\n\r\n", answer400},
		{"DEL in a value", get + "X: \x7f\r\n\r\n", answer400},
		{"space before the colon", get + "X : a\r\n\r\n", answer400},
		{"no colon", get + "X\r\n\r\n", answer400},
		{"empty name", get + ": a\r\n\r\n", answer400},
		{"name beyond ASCII", get + "\xc3\xa9: a\r\n\r\n", answer400},
		{"absolute target of another host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"absolute target of another port", "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"absolute target with the other scheme's port", "GET https://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"absolute target with a prefix of the host", "GET http://a/ HTTP/1.1\r\nHost: a.b\r\n\r\n", answer400},
		{"absolute target with a user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"absolute target with a backslash", "GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"absolute target of no host", "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"absolute target, empty Host", "GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", answer400},
		{"absolute target with a long host", "GET http://" + strings.Repeat("a", 400) + "/ HTTP/1.1\r\nHost: " + strings.Repeat("a", 400) + "\r\n\r\n", answer400},
		{"relative target", "GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"opaque target", "GET mailto:a HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"two Hosts", get + "Host: a\r\n\r\n", answer400},
		{"two Hosts that differ", get + "host: b\r\n\r\n", answer400},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", answer400},
		{"signed length", post + "Content-Length: +2\r\n\r\nhi", answer400},
		{"negative length", post + "Content-Length: -2\r\n\r\nhi", answer400},
		{"list of lengths", post + "Content-Length: 2, 2\r\n\r\nhi", answer400},
		{"empty length", post + "Content-Length:\r\n\r\nhi", answer400},
		{"hexadecimal length", post + "Content-Length: 0x2\r\n\r\nhi", answer400},
		{"length with an underscore", post + "Content-Length: 1_0\r\n\r\nhi", answer400},
		{"length beyond 63 bits", post + "Content-Length: 9223372036854775808\r\n\r\nhi", answer400},
		{"length of many digits", post + "Content-Length: " + strings.Repeat("0", 40) + "2\r\n\r\nhi", answer400},
		{"length with a line tabulation", post + "Content-Length: \v2\r\n\r\nhi", answer400},
		{"misspelled length", post + "Content_Length: 2\r\n\r\nhi", answer400},
		{"misspelled coding", post + "Transfer.Encoding: chunked\r\n\r\nhi", answer400},
		{"PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", answer400},
		{"PRI as HTTP/1.1", "PRI * HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"no version", "GET /\r\n\r\n", answer400},
		{"version with two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", answer400},
		{"version in small letters", "GET / http/1.1\r\nHost: a\r\n\r\n", answer400},
		{"version of something else", "GET / RTSP/1.0\r\nHost: a\r\n\r\n", answer400},
		{"very long version", "GET / HTTP/" + strings.Repeat("1", 100) + "\r\nHost: a\r\n\r\n", answer400},
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", answer400},
		{"method with a colon", "G:T / HTTP/1.1\r\nHost: a\r\n\r\n", answer400},
		{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", answer400},

		{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n" + get + "\r\n", answerByServer},
		{"unknown coding", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + get + "\r\n", answerByServer},
		{"coding that does not end in chunked", post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + get + "\r\n", answerByServer},
		{"empty coding", post + "Transfer-Encoding:\r\n\r\n0\r\n\r\n" + get + "\r\n", answerByServer},
		{"coding with a line tabulation", post + "Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n" + get + "\r\n", answerByServer},

		{"many bytes", get + "X: " + strings.Repeat("x", testHeaderBytes) + "\r\n\r\n", answer431},
		{"many bytes in the target", "GET /" + strings.Repeat("x", testHeaderBytes) + " HTTP/1.1\r\nHost: a\r\n\r\n", answer431},
		{"many fields", get + strings.Repeat("X: y\r\n", testHeaderCount) + "\r\n", answer431},

		{"prefixed size", chunked + "0x5\r\nhello\r\n0\r\n\r\n", failBody},
		{"no size", chunked + "\r\nhello\r\n0\r\n\r\n", failBody},
		{"negative size", chunked + "-5\r\nhello\r\n0\r\n\r\n", failBody},
		{"space before the size", chunked + " 5\r\nhello\r\n0\r\n\r\n", failBody},
		{"space after the size", chunked + "5 \r\nhello\r\n0\r\n\r\n", failBody},
		{"bare LF after the size", chunked + "5\nhello\r\n0\r\n\r\n", failBody},
		{"bare CR after the size", chunked + "5\rhello\r\n0\r\n\r\n", failBody},
		{"bare LF in an extension", chunked + "5;a\nhello\r\n0\r\n\r\n", failBody},
		{"NUL in an extension", chunked + "5;\x00\r\nhello\r\n0\r\n\r\n", failBody},
		{"long extension", chunked + "5;" + strings.Repeat("x", maxExtension) + "\r\nhello\r\n0\r\n\r\n", failBody},
		{"long size", chunked + strings.Repeat("0", maxSizeDigits) + "5\r\nhello\r\n0\r\n\r\n", failBody},
		{"huge size", chunked + "ffffffffffffffff\r\nhello\r\n0\r\n\r\n", failBody},
		{"chunk longer than its size", chunked + "5\r\nhello!\r\n0\r\n\r\n", failBody},
		{"bare LF after a chunk", chunked + "5\r\nhello\n0\r\n\r\n", failBody},
		{"bare CR after a chunk", chunked + "5\r\nhello\r0\r\n\r\n", failBody},
		{"junk after the last chunk", chunked + "0\r\n\x00\r\n\r\n", failBody},
		{"bare LF after the last chunk", chunked + "0\n\r\n", failBody},
		{"bare LF at the end of the trailers", chunked + "0\r\nA: b\r\n\n", failBody},
		{"folded trailer", chunked + "0\r\nA: b\r\n c\r\n\r\n", failBody},
		{"length among the trailers", chunked + "0\r\ncontent-length: 5\r\n\r\n", failBody},
		{"misspelled coding among the trailers", chunked + "0\r\nTransfer_Encoding: x\r\n\r\n", failBody},
		{"many trailers", chunked + "0\r\n" + strings.Repeat("A: b\r\n", testHeaderCount+1) + "\r\n", failBody},
		{"long trailers", chunked + "0\r\nA: " + strings.Repeat("b", maxTrailer) + "\r\n\r\n", failBody},
		{"extensions without end", chunked + strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\nx\r\n", 60) + "0\r\n\r\n", failBody},
	}
	return list
}()

const (
	testHeaderBytes = 16 << 10
	testHeaderCount = 50
)

var testConfig = Config{MaxHeaderBytes: testHeaderBytes, MaxHeaderCount: testHeaderCount}

// faultAt is where the guard stops in a stream given whole.
func faultAt(stream []byte) (passed int, f *fault) {
	g := newGuard(testConfig)
	for passed < len(stream) && g.fault == nil {
		g.upgrade = false
		passed += g.scan(stream[passed:])
	}
	return passed, g.fault
}

func describe(f *fault) string {
	if f == nil {
		return "no fault"
	}
	return fmt.Sprintf("%q (remedy %d)", f.why, f.remedy)
}
