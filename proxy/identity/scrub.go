package identity

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// found holds the values of the listed headers of one message, by index, exactly as they came.
type found struct {
	values [maxNames][]string
	any    bool // at least one identity header was there, listed or not
}

// requestError is what [Source.Request] returns for a request that the gateway cannot have meant. Its text is fit
// for the client: it names the header, never a value.
type requestError struct {
	reason Reason
	header string
	why    string
}

func (e *requestError) Error() string {
	return fmt.Sprintf("the %s header %s; the gateway in front must remove what visitors send", e.header, e.why)
}

// scrubUntrusted removes everything that a peer may only say when it is trusted, and reports whether an identity
// header was among it. Header names are map keys here, not canonical ones: [http.Header.Del] would miss aliases.
func (s *Source) scrubUntrusted(h http.Header) (identity bool) {
	for name := range h {
		switch c, _, _ := s.names.classify(name); c {
		case classIdentity:
			identity = true
			delete(h, name)
		case classForwarding, classOwn:
			delete(h, name)
		}
	}
	return identity
}

// scrubTrusted removes the odd spellings, which no gateway sends, and collects the values of the listed headers.
// The error says that an identity header is named in Connection: such a header would be dropped on the next hop, so
// a visitor who gets the name past the gateway would choose which parts of the identity arrive.
func (s *Source) scrubTrusted(h http.Header) (f found, err *requestError) {
	for name, values := range h {
		c, i, odd := s.names.classify(name)
		switch {
		case c == classOther:
		case c == classConnection:
			for _, v := range values {
				if header := s.names.nominated(v); header != "" {
					err = &requestError{ReasonConnection, header, "is named in Connection"}
				}
			}
		case odd:
			delete(h, name)
		case c == classIdentity:
			f.any = true
			if i >= 0 {
				f.add(i, values)
			}
		}
	}
	return f, err
}

func (f *found) add(i int, values []string) {
	if f.values[i] == nil {
		f.values[i] = values
		return
	}
	// Two keys that differ by letter case alone: net/http never makes them, but code in between might.
	f.values[i] = slices.Concat(f.values[i], values)
}

// single returns the one value of the listed header i, without the spaces and tabs that HTTP allows around it, or "" when
// i is negative or the header is absent.
// Repetitions of one value count once. ok is false when there are two different ones: whichever was taken, something
// behind this proxy might take the other.
func (f *found) single(i int) (value string, ok bool) {
	if i < 0 || len(f.values[i]) == 0 {
		return "", true
	}
	value = strings.Trim(f.values[i][0], " \t")
	for _, other := range f.values[i][1:] {
		if strings.Trim(other, " \t") != value {
			return "", false
		}
	}
	return value, true
}

// conflict returns the spelling of the first header that is read and has two different values, or "".
func (s *Source) conflict(f *found) string {
	for i := range s.reads {
		if _, ok := f.single(i); !ok {
			return s.names.listed[i].spelling
		}
	}
	return ""
}

// scrubTrailer removes announced trailers that must not arrive from anybody: a gateway puts identity into the
// header section, and a trailer is merged into it by some servers.
func (s *Source) scrubTrailer(t http.Header) {
	for name := range t {
		if s.Guards(name) {
			delete(t, name)
		}
	}
}

// Owns reports whether name is an identity header of this source, or an alias that a legacy server could take for
// one: letter case and punctuation do not matter.
func (s *Source) Owns(name string) bool { return s.names.owns(name) }

// Guards reports whether [Source.Request] removes a header called name from an untrusted peer's request: identity
// headers as in [Source.Owns], X-Forwarded-* and Forwarded, X-Zchat-*, and all their aliases. No such name may come
// in a trailer from anyone; those that were not announced arrive after Request has returned, with the end of the body.
func (s *Source) Guards(name string) bool {
	switch c, _, _ := s.names.classify(name); c {
	case classIdentity, classForwarding, classOwn:
		return true
	}
	return false
}

// StripResponse removes the identity headers, under every spelling, from a response of the upstream, and their
// announcement as trailers. With another preset than upstream it does nothing: then they are the site's own.
func (s *Source) StripResponse(h http.Header) {
	if !s.FromUpstream() {
		return
	}
	for name := range h {
		if s.names.owns(name) {
			delete(h, name)
		}
	}
}
