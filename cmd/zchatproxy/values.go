package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// The functions of this file judge one value each. What they return is the rest of a sentence that begins with the
// variable's name, "" when there is nothing to say.

// parsers are how the env package reads values of these types, with errors that say what to write.
func parsers() map[reflect.Type]func(string) (any, error) {
	return map[reflect.Type]func(string) (any, error){
		reflect.TypeFor[time.Duration](): func(v string) (any, error) { return parseDuration(v) },
		reflect.TypeFor[bool](): func(v string) (any, error) {
			switch strings.ToLower(v) {
			case "true", "1", "yes", "on":
				return true, nil
			case "false", "0", "no", "off":
				return false, nil
			}
			return nil, fmt.Errorf("is %q; write true or false", v)
		},
		reflect.TypeFor[int](): func(v string) (any, error) {
			n, err := strconv.Atoi(v)
			if err != nil {
				return nil, fmt.Errorf("is %q; write a whole number such as 10000", v)
			}
			return n, nil
		},
		reflect.TypeFor[limit](): func(v string) (any, error) { return parseLimit(v) },
	}
}

// limit is a number that may not be exceeded; noLimit where anything goes.
type limit int

const noLimit limit = -1

// parseLimit reads a positive number or "off". Zero is refused: to some it means none at all, to others no limit.
func parseLimit(v string) (limit, error) {
	if strings.EqualFold(v, "off") {
		return noLimit, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("is %q; write a whole number of 1 or more, or off for no limit", v)
	}
	return limit(n), nil
}

// durationUnits are spellings of units that Go does not read, and what to write instead.
var durationUnits = map[string]string{
	"sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
	"hour": "h", "hours": "h", "hr": "h", "msec": "ms", "millis": "ms", "S": "s", "M": "m", "H": "h",
}

func parseDuration(v string) (time.Duration, error) {
	number := strings.TrimRight(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	if _, err := strconv.ParseFloat(v, 64); err == nil {
		return 0, fmt.Errorf("is %q, a duration without a unit; write %ss for seconds or %[2]sm for minutes", v, v)
	}
	d, err := time.ParseDuration(v)
	if err == nil {
		return d, nil
	}
	if unit, ok := durationUnits[strings.TrimSpace(v[len(number):])]; ok && number != "" {
		return 0, fmt.Errorf("is %q, which is not a duration; write %s%s", v, number, unit)
	}
	return 0, fmt.Errorf("is %q, which is not a duration; write a number and a unit, such as 500ms, 30s or 2m", v)
}

func checkUpstream(v string) string {
	if rest, ok := strings.CutPrefix(v, "unix:"); ok {
		if !strings.HasPrefix(rest, "///") || path.Clean(rest[2:]) == "/" {
			return fmt.Sprintf("is %q, which names no socket; write unix:///path/of/the/socket", v)
		}
		return ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.Opaque != "" {
		// The value is not shown where it may hold a password.
		if host := strings.TrimLeft(v, "/"); !strings.ContainsAny(v, "@ ") && !strings.Contains(v, "://") && host != "" {
			return fmt.Sprintf("is %q, which has no scheme; write http://%s", v, host)
		}
		return "is not a URL; write http://host:port, https://host:port or unix:///path"
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host}
	switch {
	case u.User != nil:
		return fmt.Sprintf("holds a user or password, which would end up in logs; write %s and let the gateway log in", bare.String())
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("has the scheme %q; write http://%s, https://%[2]s or unix:///path", u.Scheme, u.Host)
	case u.Path != "" && u.Path != "/":
		return fmt.Sprintf("has the path %q, but paths are passed on as they come; write %s", u.Path, bare.String())
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Sprintf("has a query or fragment; write %s", bare.String())
	case u.Hostname() == "":
		return fmt.Sprintf("is %q, which names no host; write http://host:port", v)
	}
	if p := u.Port(); p != "" && !validPort(p) {
		return fmt.Sprintf("has the port %s; write one between 1 and 65535", p)
	}
	return ""
}

func validPort(p string) bool {
	n, err := strconv.Atoi(p)
	return err == nil && n >= 1 && n <= 65535
}

// normalHost returns the form of a host pattern that requests are compared with: lower case, punycode, no trailing
// dot, IPv6 in brackets. A port stays, and limits the site to it. note is a remark about what was left out.
func normalHost(v string) (host, note, problem string) {
	host = strings.ToLower(strings.TrimSpace(v))
	if host == "*" {
		return host, "", ""
	}
	if strings.Contains(host, "/") {
		if u, err := url.Parse(host); err == nil && u.Hostname() != "" {
			return "", "", fmt.Sprintf("has the URL %q where a host name belongs; write %s", v, u.Hostname())
		}
		return "", "", fmt.Sprintf("has %q where a host name belongs; write a name such as shop.example.com", v)
	}
	port := ""
	if name, p, err := net.SplitHostPort(host); err == nil {
		if !validPort(p) {
			return "", "", fmt.Sprintf("has %q with an impossible port; write %s", v, name)
		}
		host, port = name, ":"+p
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		if ip.Is6() {
			return "[" + ip.String() + "]" + port, "", ""
		}
		return ip.String() + port, "", ""
	}
	wild := ""
	if rest, ok := strings.CutPrefix(host, "*."); ok {
		host, wild = rest, "*."
		if port != "" {
			note, port = fmt.Sprintf("has %q: the port is left out, a pattern holds for every port.", v), ""
		}
	}
	if strings.Contains(host, "*") {
		return "", "", fmt.Sprintf("has the pattern %q; a star stands for whole labels in front: write *.%s", v, strings.TrimLeft(strings.ReplaceAll(host, "*", ""), ".-"))
	}
	ascii, ok := asciiHost(host)
	if !ok {
		return "", "", fmt.Sprintf("has %q, which is not a host name; write a name such as shop.example.com or *.example.com", v)
	}
	return wild + ascii + port, note, ""
}

// hostName is what a name looks like once it is ASCII.
var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// asciiHost turns a lower-case name into its ASCII form, as browsers do (UTS #46). Underscores, which names of internal
// machines have, are no letters of IDNA and pass in names that need no conversion.
func asciiHost(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if !strings.Contains(name, "_") {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", false
		}
		name = ascii
	}
	return name, len(name) <= 253 && hostName.MatchString(name)
}

// checkListen judges an address to listen on.
func checkListen(v string) string {
	if strings.HasPrefix(v, "unix:") {
		if socketPath(v) == "" {
			return fmt.Sprintf("is %q, which names no socket; write unix:///path/of/the/socket", v)
		}
		return ""
	}
	if validPort(v) {
		return fmt.Sprintf("is %q, which is only a port; write :%[1]s", v)
	}
	if u, err := url.Parse(v); err == nil && u.Host != "" && u.Scheme != "" {
		return fmt.Sprintf("is a URL; write the address alone: %s", u.Host)
	}
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Sprintf("is %q, which is not an address; write :8080, 127.0.0.1:8080 or unix:///path", v)
	}
	if port != "0" && !validPort(port) {
		return fmt.Sprintf("has the port %q; write one between 1 and 65535, as in %s", port, net.JoinHostPort(host, "8080"))
	}
	return ""
}

// socketPath returns the path of a unix:///path address, "" for other addresses and for unix: without a path.
func socketPath(address string) string {
	rest, ok := strings.CutPrefix(address, "unix://")
	if !ok || !strings.HasPrefix(rest, "/") || path.Clean(rest) == "/" {
		return ""
	}
	return rest
}

// routeSegments is what a route prefix may look like: it is compared after letter case, percent-encoding, double
// slashes and dot segments have been folded, so it must be in that form itself.
var routeSegments = regexp.MustCompile(`^(/[a-z0-9_~.-]+)+$`)

func checkRoutePrefix(v string) string {
	switch {
	case v == "/" || !strings.HasPrefix(v, "/"):
		return fmt.Sprintf("is %q; write a path such as /__zchat", v)
	case routeSegments.MatchString(v) && path.Clean(v) == v:
		return ""
	case routeSegments.MatchString(strings.ToLower(v)) && path.Clean(v) == v:
		return fmt.Sprintf("is %q, but letter case does not count in it; write %s", v, strings.ToLower(v))
	}
	return fmt.Sprintf("is %q; write plain segments of letters, digits, - and _ without a slash at the end, such as /__zchat", v)
}

// checkUpstreamHost judges the Host that is sent up.
func checkUpstreamHost(v, upstream string) string {
	switch v {
	case "preserve":
		return ""
	case "upstream":
		if strings.HasPrefix(upstream, "unix:") {
			return "is upstream, but a Unix socket has no name; write preserve or the name that the site expects"
		}
		return ""
	}
	name := v
	if host, port, err := net.SplitHostPort(v); err == nil {
		if !validPort(port) {
			return fmt.Sprintf("is %q; write preserve, upstream, or a name such as www.example.com", v)
		}
		name = host
	}
	if _, _, problem := normalHost(name); problem != "" || strings.Contains(v, "*") {
		return fmt.Sprintf("is %q; write preserve, upstream, or a name such as www.example.com", v)
	}
	return ""
}

// checkSettings judges a JSON object and says where it goes wrong.
func checkSettings(text string) string {
	decoder := json.NewDecoder(strings.NewReader(text))
	var value any
	err := decoder.Decode(&value)
	if err == nil {
		if _, ok := value.(map[string]any); !ok {
			return fmt.Sprintf(`is JSON, but not an object; write { "webWidget": … }, not %s`, excerpt(text, 0))
		}
		rest := decoder.InputOffset()
		if more := strings.TrimSpace(text[rest:]); more != "" {
			at := rest + int64(strings.Index(text[rest:], more))
			return fmt.Sprintf("has more after the end of its object, %s; write one JSON object alone", position(text, at))
		}
		return ""
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		at := max(0, syntax.Offset-1)
		return fmt.Sprintf("is not JSON, %s: %s", position(text, at), settingsHint(text, at, err))
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return fmt.Sprintf("is not JSON, %s: it ends too early; close what is open with } ] or \"", position(text, int64(len(text))))
	}
	return fmt.Sprintf("is not JSON: %v; write an object such as {\"webWidget\":{\"color\":{\"theme\":\"#78a300\"}}}", err)
}

// settingsHint says what to change at a syntax error. The usual cause is that the object was copied out of a script.
func settingsHint(text string, at int64, err error) string {
	var char byte
	if at < int64(len(text)) {
		char = text[at]
	}
	before := bytes.TrimRight([]byte(text[:min(at, int64(len(text)))]), " \t\r\n")
	switch {
	case strings.HasPrefix(strings.TrimSpace(text), "window.") || strings.HasPrefix(strings.TrimSpace(text), "zESettings"):
		return "write the object alone, without the name and the = in front"
	case char == '\'':
		return `strings and names take double quotes, write " instead of '`
	case char == '/':
		return "JSON has no comments, remove this one"
	case (char == '}' || char == ']') && bytes.HasSuffix(before, []byte(",")):
		return "remove the comma before it"
	case char >= 'a' && char <= 'z' && strings.Contains(err.Error(), "object key"):
		return `names take double quotes, as in "webWidget"`
	case char == '"' && strings.Contains(err.Error(), "after"):
		return "a comma is missing before it"
	}
	return err.Error() + "; write an object such as {\"webWidget\":{\"color\":{\"theme\":\"#78a300\"}}}"
}

// position names a byte offset as a person finds it in an editor, with what stands there.
func position(text string, at int64) string {
	at = min(at, int64(len(text)))
	head := text[:at]
	line := 1 + strings.Count(head, "\n")
	column := 1 + utf8.RuneCountInString(head[strings.LastIndex(head, "\n")+1:])
	if at == int64(len(text)) {
		return fmt.Sprintf("line %d, column %d (the end)", line, column)
	}
	return fmt.Sprintf("line %d, column %d, at %s", line, column, excerpt(text, at))
}

// excerpt quotes the text from an offset on, up to the end of the line or 24 characters.
func excerpt(text string, at int64) string {
	rest, _, _ := strings.Cut(text[at:], "\n")
	if runes := []rune(rest); len(runes) > 24 {
		return strconv.Quote(string(runes[:24]) + "…")
	}
	return strconv.Quote(strings.TrimRight(rest, "\r"))
}

// checkPattern judges one pattern of INCLUDE_PATHS or EXCLUDE_PATHS.
func checkPattern(v string) string {
	if strings.HasPrefix(v, "/") {
		return ""
	}
	if u, err := url.Parse(v); err == nil && u.Host != "" {
		return fmt.Sprintf("has the URL %q; write its path alone: %s", v, cmp.Or(u.Path, "/"))
	}
	return fmt.Sprintf("has the pattern %q; a pattern begins with a slash: write /%s", v, v)
}
