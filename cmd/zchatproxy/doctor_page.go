package main

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"zchatproxy/proxy"
)

// maxPage is how much of a page doctor looks at.
const maxPage = 8 << 20

// answer is a response, read whole.
type answer struct {
	path       string
	status     int
	header     http.Header
	body       []byte // as it came
	text       []byte // decoded; body where it cannot be
	undecoded  error  // why text is not decoded
	took       time.Duration
	sent, came time.Time
}

// fetch sends a request and reads the response. A page in a coding that only package inject knows is fetched a second
// time in one that can be looked into here.
func fetch(client *http.Client, r *http.Request, now func() time.Time) (*answer, error) {
	a, err := fetchOnce(client, r, now)
	if err != nil {
		return nil, err
	}
	switch coding := strings.ToLower(a.header.Get("Content-Encoding")); coding {
	case "br", "zstd":
		again := r.Clone(r.Context())
		again.Header.Set("Accept-Encoding", "gzip")
		b, err := fetchOnce(client, again, now)
		if err == nil && strings.ToLower(b.header.Get("Content-Encoding")) != coding {
			a.text, a.undecoded = b.text, b.undecoded
		} else {
			a.undecoded = errNotHere
		}
	}
	return a, nil
}

// errNotHere says that a coding is good for the proxy, but cannot be looked into by doctor.
var errNotHere = errors.New("the site insists on this coding, which doctor cannot look into")

func fetchOnce(client *http.Client, r *http.Request, now func() time.Time) (*answer, error) {
	a := &answer{path: r.URL.RequestURI(), sent: now()}
	start := time.Now()
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a.came = now()
	a.status, a.header = res.StatusCode, res.Header
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxPage))
	a.took = time.Since(start)
	if err != nil {
		return nil, fmt.Errorf("the answer breaks off after %d bytes: %w", len(a.body), err)
	}
	a.text, a.undecoded = decode(a.body, a.header["Content-Encoding"])
	if a.undecoded != nil {
		a.text = a.body
	}
	return a, nil
}

// decode undoes a Content-Encoding; br and zstd are left as they are.
func decode(body []byte, codings []string) ([]byte, error) {
	if len(codings) > 1 {
		return nil, errors.New("it is coded more than once")
	}
	var r io.Reader
	var err error
	switch strings.ToLower(strings.Join(codings, "")) {
	case "", "identity", "br", "zstd":
		return body, nil
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		// With zlib's wrapping as RFC 9110 section 8.4.1.2 has it, or without, as some servers send it.
		if r, err = zlib.NewReader(bytes.NewReader(body)); err != nil {
			r, err = flate.NewReader(bytes.NewReader(body)), nil
		}
	default:
		return nil, fmt.Errorf("the coding is none of gzip, deflate, br and zstd")
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxPage))
}

// judgePage says whether an answer is a page that a visitor can be shown.
func (d *doctor) judgePage(name string, a *answer) bool {
	contentType := a.header.Get("Content-Type")
	text := fmt.Sprintf("%s answers %d %s, %s, %d bytes in %v", a.path, a.status, http.StatusText(a.status), orDash(contentType), len(a.body), a.took.Round(time.Millisecond))
	switch {
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		d.fail(name, text, "The site wants somebody to be logged in: give what its gateway sends with --header, or a page that is open to all with --path.")
		return false
	case a.status == http.StatusNotFound:
		d.fail(name, text, "Give the path of a page that exists with --path. If all pages are missing, the site may not know the host name that is asked for.")
		return false
	case a.status == http.StatusMisdirectedRequest:
		d.fail(name, text, "The host name belongs to no site: add it to HOSTS of the site, or ask for another one.")
		return false
	case a.status >= 500:
		d.fail(name, text, "The site itself fails; see its own log.")
		return false
	case a.status >= 400:
		d.fail(name, text, "The site refuses the request; see its own log. If it is picky about host names, see UPSTREAM_HOST.")
		return false
	case a.status == http.StatusNoContent || len(a.body) == 0:
		d.fail(name, text, "There is nothing to show: give the path of a page with --path.")
		return false
	}
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	if media = strings.TrimSpace(media); media != "text/html" && media != "application/xhtml+xml" {
		d.fail(name, text, "Only text/html and application/xhtml+xml get the script: give the path of a page with --path, or correct the Content-Type on the site.")
		return false
	}
	d.ok(name, "%s", text)
	d.visitCompression(a)
	return true
}

// visitCompression says in which coding the page comes.
func (d *doctor) visitCompression(a *answer) {
	coding := a.header.Get("Content-Encoding")
	switch {
	case errors.Is(a.undecoded, errNotHere):
		d.info("compression", "%s, though gzip was asked for; where the script went is told by the proxy alone", coding)
	case a.undecoded != nil:
		d.fail("compression", fmt.Sprintf("Content-Encoding is %s, and the page cannot be decoded: %v", coding, a.undecoded),
			"Make the site, or the cache before it, send gzip, deflate, br, zstd or nothing.")
	case coding == "":
		d.ok("compression", "none")
	default:
		d.ok("compression", "%s, %d bytes for %d", coding, len(a.body), len(a.text))
	}
}

const elementStart = `<script data-zchatproxy=""`

// element finds the injected element in a page; both are -1 where there is none.
func element(page []byte) (start, end int) {
	start = bytes.Index(page, []byte(elementStart))
	if start < 0 {
		return -1, -1
	}
	length := bytes.Index(page[start:], []byte("</script>"))
	if length < 0 {
		return -1, -1
	}
	return start, start + length + len("</script>")
}

// visitProxied fetches the page through the proxy, and judges injection, policy and caching.
func (d *doctor) visitProxied(ctx context.Context, in *inside, direct *answer) *answer {
	ctx, cancel := context.WithTimeout(ctx, d.options.timeout)
	defer cancel()
	from := d.trustedAddress()
	if from == "" {
		from = d.peerAddress()
	}
	target := "http://" + d.publicHost() + direct.path
	r, err := d.browserRequest(ctx, target)
	if err != nil {
		d.fail("injection", err.Error(), "")
		return nil
	}
	d.asGateway(r)
	r.Header.Set("X-Zchat-Explain", "1")
	client := in.client(from)
	a, err := fetch(client, r, d.now)
	if err != nil {
		d.fail("injection", "the page does not come through the proxy: "+rootCause(err).Error(), "Run the proxy with ZCHAT_LOG_LEVEL=debug and see its log.")
		return nil
	}
	if a.status != direct.status {
		text := fmt.Sprintf("through the proxy the page answers %d %s instead of %d", a.status, http.StatusText(a.status), direct.status)
		if strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") || a.status == http.StatusMisdirectedRequest || a.status == http.StatusBadRequest {
			text += ": " + problemDetail(a)
		}
		d.fail("injection", text, "Correct the headers of the request (an identity header may come once only), or the host name.")
		return nil
	}
	injected := d.visitInjection(a, direct)
	d.visitPolicy(a, direct, injected)
	d.visitCaches(ctx, client, r, a, direct)
	return a
}

// visitInjection says where the script went, or why it went nowhere.
func (d *doctor) visitInjection(a, direct *answer) bool {
	const name = "injection"
	explained := a.header.Get("X-Zchat-Explain")
	start, end := element(a.text)
	if start >= 0 {
		d.ok(name, "the script is in at byte %d: %s", start, around(a.text, start, end))
		return true
	}
	reason, where, _ := strings.Cut(explained, ";")
	switch reason {
	case "injected": // UTF-16 and the like
		d.ok(name, "the script is in, %s", strings.TrimSpace(where))
		return true
	case "":
		d.fail(name, "the script is not in the page", "Run the proxy with ZCHAT_LOG_LEVEL=debug and see its log.")
		return false
	}
	text := fmt.Sprintf("not injected: %s", reason)
	if direct != nil && (reason == "fragment" || reason == "not-html" || reason == "empty") {
		text += fmt.Sprintf("; the page begins with %s", excerptOf(direct.text, 48))
	}
	d.fail(name, text, sentence(proxy.ReasonText(reason)))
	return false
}

// sentence begins a text with a capital and ends it with a full stop.
func sentence(text string) string {
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// around shows what stands before and after the element.
func around(page []byte, start, end int) string {
	before := page[max(0, start-32):start]
	after := page[end:min(len(page), end+32)]
	return fmt.Sprintf("…%s▸script◂%s…", visible(before), visible(after))
}

// excerptOf quotes the beginning of a text.
func excerptOf(text []byte, n int) string {
	return strconv.Quote(string(bytes.ToValidUTF8(text[:min(n, len(text))], []byte("�"))))
}

// visible makes bytes of a page fit for a line.
func visible(b []byte) string {
	text := string(bytes.ToValidUTF8(b, []byte("�")))
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return '·'
		}
		return r
	}, text)
}

// visitCaches says what caches do with the page.
func (d *doctor) visitCaches(ctx context.Context, client *http.Client, r *http.Request, a, direct *answer) {
	const name = "caches"
	var notes []string
	source := direct
	if source == nil {
		source = a
	}
	for _, field := range []string{"Age", "Via", "X-Cache", "Cf-Cache-Status", "X-Varnish"} {
		if v := source.header.Get(field); v != "" {
			notes = append(notes, field+": "+v)
		}
	}
	if v := source.header.Get("Cache-Control"); v != "" {
		notes = append(notes, "Cache-Control: "+v)
	}
	if etag := a.header.Get("ETag"); etag != "" {
		again := r.Clone(ctx)
		again.Header.Set("If-None-Match", etag)
		if b, err := fetch(client, again, d.now); err == nil {
			switch start, _ := element(b.text); {
			case b.status == http.StatusNotModified:
				notes = append(notes, "revalidates with 304")
			case b.status == a.status && start < 0 && bytes.Contains(a.text, []byte(elementStart)):
				d.fail(name, "asked again with its own ETag the page comes without the script", "Take the cache in between out of the way, or empty it.")
				return
			default:
				notes = append(notes, fmt.Sprintf("answers %d to its own ETag", b.status))
			}
		}
	}
	if len(notes) == 0 {
		d.ok(name, "none seen between here and the site")
		return
	}
	d.ok(name, "%s", strings.Join(notes, "; "))
}

// visitClock compares clocks: a token's times are this machine's.
func (d *doctor) visitClock(a *answer, whose string) {
	const name = "clock"
	date, err := http.ParseTime(a.header.Get("Date"))
	switch {
	case err != nil:
		d.info(name, "%s answer has no Date to compare with", whose)
		return
	case a.header.Get("Age") != "" && a.header.Get("Age") != "0":
		d.info(name, "%s answer comes from a cache, so its Date says nothing", whose)
		return
	}
	here := a.sent.Add(a.came.Sub(a.sent) / 2)
	off := here.Sub(date.Add(500 * time.Millisecond)).Round(time.Second) // Date has whole seconds
	switch size := off.Abs(); {
	case size >= 2*time.Minute:
		d.fail(name, fmt.Sprintf("this machine's clock is %v %s %s", size, aheadOf(off), whose),
			"Zendesk refuses tokens whose time is off by more than 2 minutes: set the clocks by NTP (timedatectl set-ntp true).")
	case size >= 30*time.Second:
		d.warn(name, fmt.Sprintf("this machine's clock is %v %s %s", size, aheadOf(off), whose), "From 2 minutes on Zendesk refuses tokens: set the clocks by NTP.")
	default:
		d.ok(name, "agrees with %s", whose)
	}
}

func aheadOf(off time.Duration) string {
	if off > 0 {
		return "ahead of"
	}
	return "behind"
}
