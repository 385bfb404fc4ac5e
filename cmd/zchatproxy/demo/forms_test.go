package demo

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// A person with a browser of the plainest kind: it keeps cookies, follows redirects, fills in forms and runs no script.
type person struct {
	t       *testing.T
	c       *http.Client
	address string // of the page in view
	page    []byte
	old     bool // the browser sends no Fetch Metadata: none did long ago, and none does over plain HTTP but to loopback
}

// newPerson returns somebody who can go nowhere but to one origin.
func newPerson(t *testing.T, origin string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t: t, c: &http.Client{Jar: jar, Transport: loopback(t, origin)}}
}

// open goes to an address.
func (p *person) open(address string) {
	p.t.Helper()
	r, err := http.NewRequest("GET", address, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(r)
}

func (p *person) send(r *http.Request) {
	p.t.Helper()
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	r.Header.Set("Accept-Encoding", "gzip")
	if !p.old {
		r.Header.Set("Sec-Fetch-Dest", "document")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if p.address != "" {
		r.Header.Set("Referer", p.address)
	}
	if r.Method == http.MethodPost {
		r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	}
	res, err := p.c.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.page, p.address = plain(p.t, res.Header, body), res.Request.URL.String()
}

// sees fails the test unless the page in view has the text, and the script.
func (p *person) sees(text string) {
	p.t.Helper()
	if !bytes.Contains(p.page, []byte(text)) {
		p.t.Errorf("%s: there is no %q on the page", p.address, text)
	}
	if n := len(script.FindAll(p.page, -1)); n != 1 {
		p.t.Errorf("%s: %d scripts", p.address, n)
	}
}

// isAt fails the test unless the last request was redirected to an address.
func (p *person) isAt(address string) {
	p.t.Helper()
	if p.address != address {
		p.t.Errorf("at %s, want a redirect to %s", p.address, address)
	}
}

// submit fills in the form that has the given field, by pairs of name and value, and sends it.
func (p *person) submit(field string, pairs ...string) {
	p.t.Helper()
	p.upload(field, nil, pairs...)
}

// upload is submit with a file for the given field.
func (p *person) upload(field string, content []byte, pairs ...string) {
	p.t.Helper()
	f, err := findForm(p.address, p.page, field)
	if err != nil {
		p.t.Fatalf("%s: field %s: %v", p.address, field, err)
	}
	for i := 0; i < len(pairs); i += 2 {
		f.values.Set(pairs[i], pairs[i+1])
	}
	if f.method != http.MethodPost {
		address, _, _ := strings.Cut(f.action, "?")
		p.open(address + "?" + f.values.Encode())
		return
	}
	kind, body := "application/x-www-form-urlencoded", io.Reader(strings.NewReader(f.values.Encode()))
	if f.multipart {
		kind, body = f.encode(p.t, field, content)
	}
	r, err := http.NewRequest(f.method, f.action, body)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	p.send(r)
}

// encode writes a form as multipart/form-data.
func (f form) encode(t *testing.T, field string, content []byte) (contentType string, body io.Reader) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, values := range f.values {
		if name != field || content == nil {
			if err := w.WriteField(name, values[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if content != nil {
		part, err := w.CreateFormFile(field, "Picture.jpg")
		if err != nil {
			t.Fatal(err)
		}
		part.Write(content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), &b
}

// form is a form of a page, filled in as the page has it.
type form struct {
	action, method string
	multipart      bool
	values         url.Values
}

var errNoForm = errors.New("the page has no such form")

// findForm returns the first form with a field of the given name.
func findForm(address string, page []byte, field string) (form, error) {
	base, err := url.Parse(address)
	if err != nil {
		return form{}, err
	}
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		return form{}, err
	}
	for n := range root.Descendants() {
		if n.Data != "form" || n.Type != html.ElementNode {
			continue
		}
		action, err := base.Parse(attribute(n, "action"))
		if err != nil {
			return form{}, err
		}
		f := form{action: action.String(), method: strings.ToUpper(attribute(n, "method")), values: make(url.Values),
			multipart: attribute(n, "enctype") == "multipart/form-data"}
		has := false
		for in := range n.Descendants() {
			name := attribute(in, "name")
			has = has || name != "" && name == field
			kind := attribute(in, "type")
			switch {
			case name == "" || in.Data != "input" && in.Data != "textarea", kind == "submit", kind == "file", kind == "checkbox", kind == "image", kind == "radio":
			case in.Data == "textarea" && in.FirstChild != nil:
				f.values.Set(name, in.FirstChild.Data)
			default:
				f.values.Set(name, attribute(in, "value"))
			}
		}
		if has {
			return f, nil
		}
	}
	return form{}, errNoForm
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
